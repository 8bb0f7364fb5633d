//go:build !amd64

package fs

// legacyCalls are those of harmless that only older machines have.
var legacyCalls []int
