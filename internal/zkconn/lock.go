package zkconn

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/google/uuid"

	"github.com/kingpinfs/kingpin/store"
)

// lockMark stands between the unique part and the sequence number in the names
// of a lock's contenders. It is kazoo's: Python's writers and ours exclude each
// other by it.
const lockMark = "__lock__"

// unlockPatience is how long unlock waits for the answer. What isn't done by
// then is done behind its back.
const unlockPatience = 2 * time.Second

// locking is one attempt to take a lock: one contender.
type locking struct {
	conn *Conn
	path string
	id   string // the unique part of our znode's name
	name string // our znode's name; "" while there is none
	// pending is the creation of our znode, if we didn't wait for its end.
	pending <-chan outcome[string]
	// stray is set when a znode of ours may be there that name doesn't tell
	// of, because an answer was lost or not waited for.
	stray bool

	first  string // the contender that held the lock when we looked last
	holder string // first, described for people
}

// Lock takes the lock at path by kazoo's recipe: a contender is an ephemeral
// sequential znode under path, named "<32 hex digits>__lock__<sequence>", and
// the lowest sequence holds the lock. Path and its parents are created if
// missing. If ctx ends while somebody else holds it, the error is a Conflict
// that names the holder's znode; nothing of ours is left behind then. Other
// errors: Denied, Invalid, Unavailable.
//
// The caller must call unlock once. It returns when the lock is released, or
// after 2 s; if there is no connection then, the lock is released when there is
// one again or the session expires, whichever comes first.
func (c *Conn) Lock(ctx context.Context, path string) (unlock func(), err error) {
	id := uuid.New()
	l := &locking{conn: c, path: path, id: hex.EncodeToString(id[:])}
	err = l.acquire(ctx)
	if err == nil {
		return l.release, nil
	}
	c.spawn(l.withdraw)
	if l.holder != "" && ctx.Err() != nil {
		return nil, &store.Error{Op: "locking", Subject: path, Kind: store.Conflict,
			Err: fmt.Errorf("it is held by %s: %w", l.holder, contextCause(ctx))}
	}
	return nil, storeError("locking", path, err)
}

// acquire contends until the lock is ours.
func (l *locking) acquire(ctx context.Context) error {
	for {
		// There is no znode of ours at first, and none any more when the
		// session has expired or somebody has removed it.
		if l.name == "" {
			if err := l.enlist(ctx); err != nil {
				return err
			}
		}
		session := l.conn.currentSession()
		before, err := l.queue(ctx)
		if err == nil && l.name != "" {
			if before == "" {
				return nil
			}
			l.describe(ctx)
			err = l.awaitGone(ctx, before, session)
		}
		if err != nil && !l.transient(ctx, err) {
			return err
		}
	}
}

// transient says whether to go on after an error: the connection broke, and ctx
// lets us wait for the next.
func (l *locking) transient(ctx context.Context, err error) bool {
	return connectionLost(err) && ctx.Err() == nil && l.conn.ctx.Err() == nil
}

// enlist creates our znode, and sets name.
func (l *locking) enlist(ctx context.Context) error {
	full, err := l.conn.full(l.path)
	if err != nil {
		return err
	}
	for {
		// Spelled out, unlike other requests, because an abandoned call may
		// still create the znode: withdraw must know when it has ended.
		link, err := l.conn.awaitLink(ctx)
		if err != nil {
			return err
		}
		l.pending, err = start(ctx, l.conn, link, func(conn *zk.Conn) (string, error) {
			return create(conn, full+"/"+l.id+lockMark, []byte(contender()), zk.FlagEphemeral|zk.FlagSequence)
		})
		if err != nil {
			return err
		}
		var o outcome[string]
		select {
		case o = <-l.pending:
			l.pending = nil
		case <-ctx.Done():
			return contextCause(ctx)
		}
		switch {
		case o.err == nil:
			l.name = o.value[strings.LastIndexByte(o.value, '/')+1:]
			return nil
		case neverSent(o.err):
		case connectionLost(o.err) && l.conn.ctx.Err() == nil:
			l.stray = true
			if err := l.find(ctx); err != nil || l.name != "" {
				return err
			}
		default:
			return l.conn.explain(o.err)
		}
	}
}

// contender is what we write into our znode, for people who wonder who it is.
func contender() string {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	return host + " pid " + strconv.Itoa(os.Getpid())
}

// find looks for a znode of ours after the answer to its creation was lost,
// and sets name if there is one.
func (l *locking) find(ctx context.Context) error {
	for {
		names, err := l.mine(ctx)
		switch {
		case err == nil && len(names) > 0:
			l.name = names[0]
			return nil
		case err == nil || !l.transient(ctx, err):
			return err
		}
	}
}

// mine returns the names of our znodes, lowest sequence first.
func (l *locking) mine(ctx context.Context) ([]string, error) {
	// The server that we are connected to now may lag behind.
	if err := l.conn.Sync(ctx, l.path); err != nil {
		return nil, err
	}
	all, err := l.contenders(ctx)
	return slices.DeleteFunc(all, func(name string) bool { return !strings.HasPrefix(name, l.id) }), err
}

// contenders returns everybody's znodes, lowest sequence first.
func (l *locking) contenders(ctx context.Context) ([]string, error) {
	children, _, err := l.conn.Children(ctx, l.path)
	if errors.Is(err, store.NotFound) {
		return nil, nil
	}
	return contenders(children), err
}

// queue sets first, and returns the contender right before us: "" if we are the
// first. It clears name if our znode isn't there.
func (l *locking) queue(ctx context.Context) (before string, err error) {
	all, err := l.contenders(ctx)
	if err != nil {
		return "", err
	}
	switch i := slices.IndexFunc(all, func(name string) bool { return strings.HasPrefix(name, l.id) }); i {
	case -1:
		l.name = ""
		return "", nil
	case 0:
		l.name = all[0]
		return "", nil
	default:
		l.name = all[i]
		l.first = all[0]
		return all[i-1], nil
	}
}

// contenders returns the names that take part in the recipe, in the order of
// their sequence numbers.
func contenders(children []string) []string {
	type contender struct {
		name     string
		sequence int64
	}
	var found []contender
	for _, name := range children {
		i := strings.LastIndex(name, lockMark)
		if i < 0 {
			continue
		}
		// The server's counter is signed and may overflow.
		sequence, err := strconv.ParseInt(name[i+len(lockMark):], 10, 64)
		if err == nil {
			found = append(found, contender{name, sequence})
		}
	}
	slices.SortFunc(found, func(a, b contender) int { return cmp.Compare(a.sequence, b.sequence) })
	names := make([]string, len(found))
	for i, c := range found {
		names[i] = c.name
	}
	return names
}

// describe sets holder: who holds the lock, by its znode's name and what it
// wrote there.
func (l *locking) describe(ctx context.Context) {
	const enough = 80
	name := strconv.Quote(l.first)
	if strings.HasPrefix(l.holder, name) {
		return
	}
	l.holder = name
	data, _, err := l.conn.Get(ctx, l.path+"/"+l.first)
	if err == nil && len(data) > 0 {
		l.holder += fmt.Sprintf(" (%q)", data[:min(len(data), enough)])
	}
}

// awaitGone waits until the contender before us may have gone, and no longer
// than the session lasts in which our own znode was seen.
func (l *locking) awaitGone(ctx context.Context, name string, session int64) error {
	// GetW, not ExistsW: for a znode that is gone it arms no watch, which
	// would wait for ever for a name that never comes back.
	gone, err := request(ctx, l.conn, "waiting for lock", l.path, twice,
		func(conn *zk.Conn, full string) (<-chan zk.Event, error) {
			_, stat, events, err := conn.GetW(full + "/" + name)
			if err == nil {
				l.conn.watches.add(full+"/"+name, dataWatch, watch{events, stat.Mzxid})
			}
			return events, err
		})
	if errors.Is(err, store.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if l.conn.currentSession() != session {
		return nil // a watch that doesn't end with the session of our znode
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return contextCause(ctx)
	}
}

// release gives the lock back.
func (l *locking) release() {
	done := make(chan struct{})
	if !l.conn.spawn(func() { defer close(done); l.withdraw() }) {
		return // closed: the session is gone, and our znode with it
	}
	if !l.conn.Status().Connected {
		return
	}
	patience := time.NewTimer(unlockPatience)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
	}
}

// withdraw removes our znode and whatever else may be left of us. It returns
// when that is done, or when the Conn is closed, which does it too.
func (l *locking) withdraw() {
	ctx := l.conn.ctx
	if l.pending != nil {
		<-l.pending
		l.stray = true
	}
	for {
		names, err := []string{l.name}, error(nil)
		switch {
		case l.stray:
			names, err = l.mine(ctx)
		case l.name == "":
			return
		}
		for _, name := range names {
			if err == nil {
				err = l.conn.Delete(ctx, l.path+"/"+name, store.AnyVersion)
			}
			if errors.Is(err, store.NotFound) {
				err = nil
			}
		}
		if err == nil {
			return
		}
		if !l.transient(ctx, err) {
			if ctx.Err() == nil {
				l.conn.log.Warn("a lock can't be released before its session ends", "path", l.path, "error", err)
			}
			return
		}
	}
}
