// Package store keeps versioned values: the content lives in S3 under a key
// that names its version, and a znode, the pointer, names the version that
// counts. docs/wire-format.md lists the names and the order of a write.
//
// The package owns the rules; it reaches ZooKeeper and S3 through the two
// narrow interfaces Znodes and Blobs.
package store
