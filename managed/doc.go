// Package managed gives values of the fleet a structure: what the text of a
// list, a map or a decider must look like, so that its readers in every
// language agree. docs/wire-format.md lists the texts.
package managed
