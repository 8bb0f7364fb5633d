// Package devcluster starts the servers that KingPin needs, ZooKeeper and S3,
// on this machine: for `kingpin dev`, which shows a whole fleet on one box,
// and for tests. Servers listen on 127.0.0.1, on free ports, run as whoever
// starts them, write nothing to the terminal, and never outlive the process
// that started them.
package devcluster
