// Package managed gives values of the fleet a structure: lists, maps, mapped
// lists, JSON documents and deciders, for programs on the fleet's machines. Their
// texts are those of docs/wire-format.md, so that programs in every language
// agree.
//
// List, Map, MappedList, JSON and Decider have two sides.
//
// Reading is local: the file that this machine's monitor keeps current, whoever
// serves it, is followed and kept in memory as an immutable snapshot. Looking
// something up takes no lock, no system call and no network; see Reader.
//
// Writing goes to the fleet, by a Client: a change is made to what is current
// there, checked, and published as a new version, and made again if somebody else
// was faster. A program reads its own write when its machine has it, moments
// later.
//
// What may be published is decided in one place, Rules, for programs, commands
// and everybody else.
package managed
