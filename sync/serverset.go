package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/store"
)

// syncServerset brings a serverset's file up to date, as far as the shrink
// guard lets it.
func (e *Engine) syncServerset(ctx context.Context, it *item) error {
	now := e.look(it)
	if now == nil {
		return errNotNow
	}
	path := now.sub.ZKPath
	if err := e.catchUp(ctx, now); err != nil {
		return err
	}
	names, stat, err := e.readChildren(ctx, path, now.known)
	gone := store.KindOf(err) == store.NotFound
	switch {
	case gone && now.current:
		// As suspicious as an empty list, and handled as one.
		err = missingServerset(err, path)
		stat.Pzxid = now.known + 1
	case gone:
		return missingServerset(err, path)
	case err != nil:
		return err
	}
	offered, bad := serverset.Parse(names)
	e.reportBadMembers(it, bad)
	serve, held := e.judge(it, now.sub, stat.Pzxid, offered)
	if held {
		return err // of a znode that is gone, else nil
	}
	content := serverset.Render(serve)
	if now.current && now.serving.is(content) {
		if !gone {
			e.confirm(it, stat.Pzxid, stat.Version)
		}
		return err
	}
	if failure := e.publish(it, &now.serving, content, served{
		Version: strconv.FormatInt(stat.Pzxid, 10), Zxid: stat.Pzxid, ZnodeVersion: stat.Version,
		ZKPath: path, ModTime: laterThan(now.serving.ModTime),
	}); failure != nil {
		return failure
	}
	return err
}

// laterThan returns the present, or a moment after a time that isn't before it,
// as after the clock was set back: readers may look for later times alone.
func laterThan(t time.Time) time.Time {
	if now := time.Now(); now.After(t) {
		return now
	}
	return t.Add(time.Millisecond)
}

func missingServerset(err error, path string) error {
	return fmt.Errorf("%w; create it with: %s", err, create(path))
}

// judge asks the guard whether a list may be served. If not, what is served
// stays.
func (e *Engine) judge(it *item, sub *metaconfig.Subscription, zxid int64, offered []string) (serve []string, held bool) {
	verdict, r, news := e.offer(it, sub, zxid, inOneString(offered))
	if news {
		e.save(r)
	}
	return verdict.Serve, verdict.Held
}

// offer gives the guard a list. The record is news if what is held is another
// list than before.
func (e *Engine) offer(it *item, sub *metaconfig.Subscription, zxid int64, offered []string) (verdict serverset.Verdict, r record, news bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	it.zxid = max(it.zxid, zxid)
	if it.guard == nil {
		it.guard = serverset.NewGuard(serverset.GuardOptions{}, nil)
	}
	it.guard.SetOptions(serverset.GuardOptions{Ratio: sub.RejectionRatio, MinimumSize: sub.MinimumSize, Hold: e.cfg.ServersetHold})
	it.judged = it.guard.State()
	verdict = it.guard.Offer(time.Now(), offered)
	switch {
	case it.accepted == nil:
	case verdict.Held && slices.Equal(it.accepted, verdict.Offered):
		verdict = it.guard.Accept()
	default:
		if verdict.Held {
			e.log.Warn("the held list has changed since it was accepted, and stays held; look at it again", "serverset", it.key.name)
		}
		it.accepted = nil
	}
	e.noteHeld(it, verdict)
	news = !sameHeld(it.judged.Held, it.guard.State().Held)
	if news {
		r, news = it.record()
	}
	return verdict, r, news
}

func sameHeld(a, b *serverset.Held) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Since.Equal(b.Since) && slices.Equal(a.Endpoints, b.Endpoints)
}

// noteHeld follows the guard's verdict. mu must be held.
func (e *Engine) noteHeld(it *item, verdict serverset.Verdict) {
	switch {
	case verdict.Held && !it.held:
		e.stats.HeldServersets.Add(1)
		e.log.Warn("suspicious serverset held back, the one before is served; to serve the new one: kingpin serverset accept "+it.key.name,
			"serverset", it.key.name, "served", len(verdict.Serve), "offered", len(verdict.Offered), "reason", verdict.Reason)
	case it.held && !verdict.Held:
		e.log.Warn("held serverset released", "serverset", it.key.name, "endpoints", len(verdict.Serve), "reason", verdict.Reason)
	}
	it.held, it.heldReason = verdict.Held, ""
	if !verdict.Held {
		return
	}
	it.heldReason = verdict.Reason
	if !verdict.ReleaseAt.IsZero() {
		e.addAfter(it.key, time.Until(verdict.ReleaseAt))
	}
}

// unjudge takes a verdict back: readers don't see what the guard let out. mu
// must be held.
func (it *item) unjudge() {
	it.guard.Restore(it.judged)
	it.held, it.heldReason = it.judged.Held != nil, ""
	if it.held {
		it.heldReason = "released, but not yet served"
	}
}

// inOneString returns the endpoints as parts of one string: taken from the
// names of the members, each would keep a whole name in memory.
func inOneString(endpoints []string) []string {
	if len(endpoints) == 0 {
		return nil
	}
	return strings.Split(strings.Join(endpoints, "\n"), "\n")
}

// reportBadMembers says which members of a serverset name no endpoint: once,
// not at each reading.
func (e *Engine) reportBadMembers(it *item, bad []serverset.BadMember) {
	e.stats.InvalidMembers.Add(int64(len(bad)))
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range bad {
		if !slices.Contains(it.bad, b.Member) {
			e.log.Warn("member of a serverset names no endpoint and is left out; whoever registers it must mend it",
				"serverset", it.key.name, "member", b.Member, "error", b.Err)
		}
	}
	it.bad = nil
	for _, b := range bad {
		it.bad = append(it.bad, b.Member)
	}
}

// AcceptServerset serves the list of a held serverset, by file name, unless
// ZooKeeper shows another one by now. It returns an error if there is no such
// serverset, if nothing is held, or if ZooKeeper can't be asked.
func (e *Engine) AcceptServerset(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	it := e.items[key{serversetItem, name}]
	switch {
	case it == nil || !it.wanted:
		return fmt.Errorf("this box doesn't serve a serverset %q: see kingpin status", name)
	case !it.held:
		return fmt.Errorf("nothing is held back of serverset %q", name)
	case !e.connected:
		return errors.New("ZooKeeper can't be reached, so nobody knows whether the held list still stands: try again when it can")
	}
	it.accepted = append([]string{}, it.guard.State().Held.Endpoints...)
	e.add(it.key)
	return nil
}
