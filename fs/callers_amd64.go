package fs

import "golang.org/x/sys/unix"

// legacyCalls are those of harmless that only older machines have.
var legacyCalls = []int{unix.SYS_OPEN, unix.SYS_CREAT, unix.SYS_CHOWN, unix.SYS_LCHOWN}
