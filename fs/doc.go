// Package fs is the tree of files that readers see, and its two faces: a FUSE
// mount, and plain files where FUSE can't be had.
//
// A Volume serves one directory, such as /var/config. Whoever has a file open
// keeps reading the version that was opened; once any process has seen a
// version of a name, no later open sees an older one; a file's time and its
// inode number change with its version. The FUSE face adds extended attributes
// that say where a file stands, and costs a reader no message to the daemon
// once a version has been read.
//
// # The mount
//
// Every version of a file is an inode of its own, which never changes. An update
// puts another inode under the name and has the kernel drop the old one from
// its cache of names. So nothing that is cached of an inode ever has to be
// invalidated, and OPEN and FLUSH need no answer but ENOSYS, after which the
// kernel sends them no more.
//
// # The plain files
//
// Beneath the mount lies the same tree as plain files, written through a
// descriptor that was opened before mounting. It is what a starting daemon reads
// back, what readers fall through to when the mount goes away, and the other
// face. A file is written aside and renamed into place, never changed.
//
// What belongs to a Volume beside the files lies in the directory .kingpin: the
// lock that keeps a second monitor away, and files being written.
package fs
