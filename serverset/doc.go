// Package serverset knows what a serverset is: how its members are named in
// ZooKeeper, how its endpoints stand in a file, and when a new list is too
// suspicious to be served at once. docs/wire-format.md lists the formats.
//
// The package is pure logic: it does no I/O and never asks for the time.
package serverset
