package fs

import "fmt"

// The operations that are named here and there; opNames has all of them.
const (
	opLookup      = 1
	opSetAttr     = 4
	opUnlink      = 10
	opRename      = 12
	opWrite       = 16
	opRelease     = 18
	opFsync       = 20
	opGetXAttr    = 22
	opFlush       = 25
	opCreate      = 35
	opReadDirPlus = 44
	opRename2     = 45
)

// opNames are the operations of the protocol, by their codes in linux/fuse.h.
var opNames = [...]string{
	1: "LOOKUP", 2: "FORGET", 3: "GETATTR", 4: "SETATTR", 5: "READLINK",
	6: "SYMLINK", 8: "MKNOD", 9: "MKDIR", 10: "UNLINK", 11: "RMDIR",
	12: "RENAME", 13: "LINK", 14: "OPEN", 15: "READ", 16: "WRITE",
	17: "STATFS", 18: "RELEASE", 20: "FSYNC", 21: "SETXATTR", 22: "GETXATTR",
	23: "LISTXATTR", 24: "REMOVEXATTR", 25: "FLUSH", 26: "INIT", 27: "OPENDIR",
	28: "READDIR", 29: "RELEASEDIR", 30: "FSYNCDIR", 31: "GETLK", 32: "SETLK",
	33: "SETLKW", 34: "ACCESS", 35: "CREATE", 36: "INTERRUPT", 37: "BMAP",
	38: "DESTROY", 39: "IOCTL", 40: "POLL", 41: "NOTIFY_REPLY", 42: "BATCH_FORGET",
	43: "FALLOCATE", 44: "READDIRPLUS", 45: "RENAME2", 46: "LSEEK", 47: "COPY_FILE_RANGE",
	48: "SETUPMAPPING", 49: "REMOVEMAPPING", 50: "SYNCFS", 51: "TMPFILE", 52: "STATX",
	53: "COPY_FILE_RANGE_64",
}

// opCount is how many operations are counted apart.
const opCount = 64

func opName(op int) string {
	if op < len(opNames) && opNames[op] != "" {
		return opNames[op]
	}
	return fmt.Sprintf("OPERATION_%d", op)
}
