// Package zkconn is KingPin's ZooKeeper client: the reads, writes and locks of
// store.Znodes, and reads that leave a watch which can't be lost unnoticed.
//
// It stands on github.com/go-zookeeper/zk and makes up for what that leaves to
// its callers: calls end with their context, names are resolved anew at each
// connect, a server that accepts and then says nothing is given up, reconnects
// are spread over time, watches are armed once and not once a read, watches
// that could not be set again after a reconnect end the session rather than
// vanish, and locks are those of Python's kazoo.
package zkconn
