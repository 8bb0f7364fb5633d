// Package pyjson reads and writes JSON as Python's json module does: what
// json.loads takes is read without losing anything, and what is written is, byte
// for byte, what json.dumps writes. Python's writers compare such texts; see
// "Managed data" in docs/wire-format.md.
//
// What is special about Python's JSON:
//
//   - Whole numbers have any size, and other numbers are doubles, written in the
//     shortest form that reads back as the same.
//   - NaN, Infinity and -Infinity are numbers. They are not JSON; see Check.
//   - Strings may hold halves of surrogate pairs. They are kept in Go's strings as
//     three bytes, as UTF-8 would encode them if it encoded surrogates (WTF-8).
//   - Of an object's fields with the same name the last one counts.
package pyjson
