package fs

import "golang.org/x/sys/unix"

// legacyOpens are the numbers of calls that only older machines have.
var legacyOpens = []int{unix.SYS_OPEN, unix.SYS_CREAT}
