package sync

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/store"
)

// syncServerset brings a serverset's file up to date, as far as the shrink
// guard lets it.
func (e *Engine) syncServerset(ctx context.Context, it *item) error {
	e.mu.Lock()
	sub, serving := it.sub(), it.serving
	accepted := it.accepted
	e.mu.Unlock()
	known := serving.zxidOf(store.Ref{Path: sub.ZKPath})
	members, stat, err := e.readChildren(ctx, sub.ZKPath, known)
	gone := store.KindOf(err) == store.NotFound
	switch {
	case gone && serving.isZero():
		return fmt.Errorf("%w; create it with: kingpin metaconfig create-serverset", err)
	case gone:
		// As suspicious as an empty list, and handled as one.
	case err != nil:
		return err
	}
	offered, bad := serverset.Parse(members)
	e.reportBadMembers(it, bad)

	e.mu.Lock()
	if it.guard == nil || !it.serving.isZero() && it.serving.ZKPath != sub.ZKPath {
		it.guard = serverset.NewGuard(serverset.GuardOptions{}, nil)
	}
	it.guard.SetOptions(e.guardOptions(sub))
	verdict := it.guard.Offer(time.Now(), offered)
	if accepted != nil && verdict.Held && slices.Equal(accepted, verdict.Offered) {
		verdict = it.guard.Accept()
	}
	it.accepted = nil
	news := it.held || verdict.Held
	e.noteHeld(it, verdict)
	r, recorded := it.record()
	e.mu.Unlock()

	if news && recorded {
		e.save(r)
	}
	if content := serverset.Render(verdict.Serve); serving.isZero() || !serving.is(content) || serving.ZKPath != sub.ZKPath {
		return e.publish(it, content, served{
			Version: strconv.FormatInt(stat.Pzxid, 10), Zxid: stat.Pzxid, ZnodeVersion: stat.Version,
			ZKPath: sub.ZKPath, ModTime: time.Now(),
		})
	}
	return nil
}

func (e *Engine) guardOptions(sub metaconfig.Subscription) serverset.GuardOptions {
	return serverset.GuardOptions{Ratio: sub.RejectionRatio, MinimumSize: sub.MinimumSize, Hold: e.cfg.ServersetHold}
}

// noteHeld follows the guard's verdict. mu must be held.
func (e *Engine) noteHeld(it *item, verdict serverset.Verdict) {
	if verdict.Held && !verdict.ReleaseAt.IsZero() {
		e.queue.AddAfter(it.key, max(time.Until(verdict.ReleaseAt), 0))
	}
	switch {
	case verdict.Held && it.heldReason != verdict.Reason:
		e.stats.HeldServersets.Add(1)
		e.log.Warn("suspicious serverset held back, the one before is served; to serve the new one: kingpin serverset accept "+it.key.name,
			"serverset", it.key.name, "served", len(verdict.Serve), "offered", len(verdict.Offered), "reason", verdict.Reason)
	case it.held && !verdict.Held:
		e.log.Warn("held serverset released", "serverset", it.key.name, "endpoints", len(verdict.Serve), "reason", verdict.Reason)
	}
	it.held, it.heldReason = verdict.Held, ""
	if verdict.Held {
		it.heldReason = verdict.Reason
	}
}

// reportBadMembers says which members of a serverset name no endpoint: once,
// not at each reading.
func (e *Engine) reportBadMembers(it *item, bad []serverset.BadMember) {
	e.stats.InvalidMembers.Add(int64(len(bad)))
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range bad {
		if !slices.Contains(it.badMembers, b.Member) {
			e.log.Warn("member of a serverset names no endpoint and is left out; whoever registers it must mend it",
				"serverset", it.key.name, "member", b.Member, "error", b.Err)
		}
	}
	it.badMembers = nil
	for _, b := range bad {
		it.badMembers = append(it.badMembers, b.Member)
	}
}
