package zkconn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-zookeeper/zk"

	"github.com/kingpinfs/kingpin/store"
)

var (
	errNotOpen     = errors.New("the ZooKeeper client is not open")
	errClosed      = errors.New("the ZooKeeper client is closed")
	errWatchesLost = errors.New("the session was given up because its watches could not be set again")
)

// maxRequest is how large a request a server takes by default: its
// jute.maxbuffer. It drops the connection of who sends more.
const maxRequest = 0xfffff

// kinds is what the library's errors mean. What isn't listed, connection loss
// and expiry above all, is Unavailable.
var kinds = map[error]store.Kind{
	zk.ErrNoNode:                  store.NotFound,
	zk.ErrNodeExists:              store.Exists,
	zk.ErrBadVersion:              store.Conflict,
	zk.ErrNotEmpty:                store.Conflict,
	zk.ErrNoAuth:                  store.Denied,
	zk.ErrAuthFailed:              store.Denied,
	zk.ErrInvalidPath:             store.Invalid,
	zk.ErrInvalidACL:              store.Invalid,
	zk.ErrInvalidFlags:            store.Invalid,
	zk.ErrBadArguments:            store.Invalid,
	zk.ErrNoChildrenForEphemerals: store.Invalid,
}

// advice is what to say beside the kind, where the library's words don't help.
var advice = map[error]error{
	zk.ErrNoNode:     nil,
	zk.ErrNodeExists: nil,
	zk.ErrBadVersion: errors.New("it was changed in the meantime"),
	zk.ErrNotEmpty:   errors.New("it has children"),
	zk.ErrNoAuth:     errors.New("the znode's ACL doesn't allow it; check the digest credentials (--zk-auth)"),
	zk.ErrAuthFailed: errors.New("ZooKeeper refuses the digest credentials (--zk-auth)"),
}

// storeError turns an error of a call into one of store's. It is nil for nil.
func storeError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	if own, ok := errors.AsType[*store.Error](err); ok {
		return own
	}
	e := &store.Error{Op: op, Subject: path, Kind: store.Unavailable, Err: err}
	for known, kind := range kinds {
		if errors.Is(err, known) {
			e.Kind = kind
			if better, ok := advice[known]; ok {
				e.Err = better
			}
			break
		}
	}
	return e
}

// neverSent says that a request failed without having left this machine.
func neverSent(err error) bool { return errors.Is(err, zk.ErrNoServer) }

// connectionLost says that a request failed for a reason that has nothing to
// do with it; whether a server acted on it is unknown.
func connectionLost(err error) bool {
	return errors.Is(err, zk.ErrConnectionClosed) || errors.Is(err, zk.ErrClosing) ||
		errors.Is(err, zk.ErrSessionExpired) || errors.Is(err, zk.ErrSessionMoved)
}

// contextCause returns the error of a context that has ended, and the cause, if
// one was given.
func contextCause(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// checkPath applies ZooKeeper's rules for paths, which the library applies
// only in part to a path with a chroot before it.
func checkPath(path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return fmt.Errorf("%w: a path begins with a slash", zk.ErrInvalidPath)
	case path == "/":
		return nil
	case strings.HasSuffix(path, "/"):
		return fmt.Errorf("%w: a path doesn't end in a slash", zk.ErrInvalidPath)
	case !utf8.ValidString(path):
		return fmt.Errorf("%w: a path is UTF-8", zk.ErrInvalidPath)
	}
	for element := range strings.SplitSeq(path[1:], "/") {
		if element == "" || element == "." || element == ".." {
			return fmt.Errorf("%w: %q is no name", zk.ErrInvalidPath, element)
		}
		for _, r := range element {
			if forbidden(r) {
				return fmt.Errorf("%w: it holds the character %U", zk.ErrInvalidPath, r)
			}
		}
	}
	return nil
}

// forbidden says which characters ZooKeeper refuses in names (its PathUtils).
func forbidden(r rune) bool {
	return r <= 0x1f || 0x7f <= r && r <= 0x9f || 0xf000 <= r && r <= 0xf8ff || 0xfff0 <= r && r <= 0xffff
}
