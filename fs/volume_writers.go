package fs

import (
	"context"
	"errors"
	"time"
)

// writersAlone is how long the volume's session may outlast the writers' session
// when both are ended.
const writersAlone = 5 * time.Second

// serveWriters serves the writers' session. If that can't be, the mount can still
// be read. life must be held.
func (v *Volume) serveWriters() *connection {
	conn := newConnection(v.writerDev, v.ledger.writersRequest(), newPrivateFace(v.writes), v.cfg.Logger)
	if err := conn.takeOver(); err != nil {
		conn.stop()
		v.writersEnded(err)
		return nil
	}
	v.watch.Go(func() { v.watchWriters(conn) })
	return conn
}

// watchWriters notes it when the writers' session ends, and says so, unless the
// volume is closed or its own session ends as well.
func (v *Volume) watchWriters(conn *connection) {
	conn.wait()
	if v.closing.Load() {
		return // whoever serves next goes on with it
	}
	v.ledger.header.writers.attached.Store(0)
	timeout := time.NewTimer(writersAlone)
	defer timeout.Stop()
	select {
	case <-v.writes.ctx.Done():
	case <-v.ended:
	case <-timeout.C:
		v.writersEnded(errors.New("its session was aborted, or unmounted everywhere"))
	}
}

// writersEnded notes that nothing can be written any more.
func (v *Volume) writersEnded(err error) {
	v.ledger.header.writers.attached.Store(0)
	v.cfg.Logger.Error("the mount can only be read from now on: the one for those who write has ended; restart the monitor to write again",
		"dir", v.plain.path, "error", err)
}

// endWrites lets changes under way come to their end, or, if they take too long,
// breaks them off, and leaves later ones to whoever serves next.
func (v *Volume) endWrites() {
	v.life.RLock()
	w, f := v.writes, v.face.Load()
	v.life.RUnlock()
	if w == nil {
		return
	}
	patience, cancel := context.WithTimeout(context.Background(), drainWrites)
	defer cancel()
	drain := func(ctx context.Context) {
		for _, conn := range []*connection{f.writers, f.conn} {
			if conn != nil {
				conn.later.drain(ctx)
			}
		}
	}
	drain(patience)
	w.cancel()
	drain(context.Background())
	w.later.Wait()
}
