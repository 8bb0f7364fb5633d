//go:build !amd64

package fs

// legacyOpens are the numbers of calls that only older machines have.
var legacyOpens []int
