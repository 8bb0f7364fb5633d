// Package metaconfig says what a box of the fleet gets. A metaconfig is a small
// JSON document, itself a versioned value, that names a znode and the file that
// is made of it; a dependency is a set of metaconfigs and of other
// dependencies, and a box subscribes to one by its name. docs/wire-format.md
// lists their formats and znodes.
//
// Metaconfigs hold a shell command, which the monitors of the Python fleet run
// as root. This package reads the command's words for their options and never
// runs anything; and what it writes into a command are names that a shell
// leaves alone.
package metaconfig
