// Package serverset knows what a serverset is: how its members are named in
// ZooKeeper, how its endpoints stand in a file, and when a new list is too
// suspicious to be served at once. docs/wire-format.md lists the formats.
//
// For programs that call a service it has Providers of the service's hosts, such
// as a File, and a Balancer that says for each call which host to make it to.
// docs/serversets.md shows how.
//
// The package is logic: it does no I/O but a File's, which reads the file it
// follows. What depends on time, the guard and the ejection of hosts, has no
// timers and takes the time as an argument, or from the clock that it was given.
package serverset
