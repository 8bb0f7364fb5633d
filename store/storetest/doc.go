// Package storetest holds what tests of versioned values need: both backends
// in memory, and the conformance suites that these and the real ones pass.
package storetest
