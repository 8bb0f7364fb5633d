package fs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// What a request says of itself, where it isn't decoded as a whole: struct
// fuse_in_header of linux/fuse.h. It must have requestHeader bytes.

// operationOf returns what a request asks for.
func operationOf(request []byte) uint32 { return binary.NativeEndian.Uint32(request[4:]) }

// nodeOf returns the inode that a request is about.
func nodeOf(request []byte) uint64 { return binary.NativeEndian.Uint64(request[16:]) }

// userIn returns the user that a request comes from.
func userIn(request []byte) uint32 { return binary.NativeEndian.Uint32(request[24:]) }

// threadIn returns the thread that a request comes from.
func threadIn(request []byte) uint32 { return binary.NativeEndian.Uint32(request[32:]) }

// replyTo makes the header of a reply that is followed by so many bytes.
func replyTo(request []byte, errno unix.Errno, body uint32, out []byte) []byte {
	const header = 16
	b := binary.NativeEndian.AppendUint32(out[:0], header+body)
	b = binary.NativeEndian.AppendUint32(b, uint32(-int32(errno)))
	return append(b, request[8:16]...) // whose request it answers
}

// refusal makes the reply to a request that only tells an error.
func refusal(request []byte, errno unix.Errno, out []byte) []byte {
	return replyTo(request, errno, 0, out)
}

// attrSize makes the reply to a GETXATTR that asks for the size of an attribute
// alone: struct fuse_getxattr_out.
func attrSize(request []byte, size uint32, out []byte) []byte {
	b := binary.NativeEndian.AppendUint32(replyTo(request, 0, 8, out), size)
	return append(b, 0, 0, 0, 0) // padding
}
