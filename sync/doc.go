// Package sync keeps what a box serves current: it finds out from ZooKeeper
// what the box subscribes to, watches those znodes, fetches what changed from
// S3 and hands it to a Sink, and remembers it on disk for the next start.
//
// Three rules run through it. A watch is a hint, the truth is a read: every
// event, reconnection and timer ends in reading the znode and comparing it
// with what is served. Newer wins: the zxids of ZooKeeper order what was read,
// and an older state is never served after a newer one. Something is always
// served: whatever fails, the last good content stays until a better one is
// there.
package sync
