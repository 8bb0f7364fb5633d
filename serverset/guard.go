package serverset

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A served list of fewer endpoints than this may shrink by any ratio, as long
// as something is left: of few, losing half is no news.
const minGuarded = 5

// GuardOptions say which lists a Guard holds back, and for how long.
type GuardOptions struct {
	// Ratio is the part of the served endpoints that must be left, when at
	// least five are served. 0 or less switches the rule off; more than 1, or
	// no number, counts as 1.
	Ratio float64
	// MinimumSize is the number of endpoints that must be left. 0 or less
	// switches the rule off.
	MinimumSize int
	// Hold is how long a held list must stand unchanged until it goes out all
	// the same, unless it is empty. 0 or less lets it out at once.
	Hold time.Duration
}

// Guard decides which list of a serverset is served, so that a fault that
// makes most registrations vanish doesn't take the service away from everyone
// who reads the list.
//
// Only a loss is suspicious. A list that has at least as many endpoints as the
// served one goes out at once, and so does the first list of all: keeping it
// back would protect nothing. One that has fewer is held while it is empty, has
// fewer endpoints than the minimum, or fewer than the ratio of the served ones.
//
// Every list is judged against the served one, not against the one before. A
// Guard is not safe for concurrent use.
type Guard struct {
	opts   GuardOptions
	served []string // nil until there is a list
	held   *Held
	// unconfirmed says that the held list comes from Restore: ZooKeeper hasn't
	// been seen to have it still.
	unconfirmed bool
}

// Held is a list that is held back.
type Held struct {
	Endpoints []string  `json:"endpoints"`
	Since     time.Time `json:"since"` // when it was first offered, without a change since then
}

// State is what of a Guard must survive a restart.
type State struct {
	Served []string `json:"served"`         // nil: nothing has been served yet
	Held   *Held    `json:"held,omitempty"` // nil: nothing is held
}

// Verdict is what a Guard decides. Its slices are sorted and belong to the
// Guard: they are never modified, and must not be.
type Verdict struct {
	// Serve is the list to serve now. It is nil, not merely empty, as long as
	// there has never been one.
	Serve []string
	// Changed says that Serve is not what it was before the call.
	Changed bool
	// Held says that a suspicious list is held back: Offered.
	Held bool
	// Offered is the list that is held; nil if none is.
	Offered []string
	// Reason says why a list is held, or why one that had been suspicious goes
	// out all the same; otherwise "".
	Reason string
	// ReleaseAt is when Check will let the held list out if it stands
	// unchanged. It is zero if only Accept, a better list, or an Offer that
	// confirms a restored one can end the hold.
	ReleaseAt time.Time
}

// NewGuard returns a guard for a serverset of which served was served last;
// nil if nothing has been served yet.
func NewGuard(opts GuardOptions, served []string) *Guard {
	g := &Guard{}
	g.SetOptions(opts)
	g.Restore(State{Served: served})
	return g
}

// SetOptions changes the rules from the next Offer or Check on.
func (g *Guard) SetOptions(opts GuardOptions) {
	if opts.Ratio > 1 || math.IsNaN(opts.Ratio) {
		opts.Ratio = 1
	}
	g.opts = opts
}

// State returns what Restore needs to go on from here. It shares its slices
// with the Guard; they must not be modified.
func (g *Guard) State() State {
	state := State{Served: g.served}
	if g.held != nil {
		held := *g.held
		state.Held = &held
	}
	return state
}

// Restore continues from a saved state. The clock of a held list goes on, but
// the list goes out only after an Offer has shown that it is still current.
func (g *Guard) Restore(state State) {
	g.served, g.held, g.unconfirmed = nil, nil, false
	if state.Served != nil {
		g.served = copyOf(state.Served)
	}
	// Without its time a hold can't be judged; the next Offer begins a new one.
	if state.Held != nil && !state.Held.Since.IsZero() {
		g.held = &Held{Endpoints: copyOf(state.Held.Endpoints), Since: state.Held.Since}
		g.unconfirmed = true
	}
}

// Offer says what ZooKeeper lists now, in any order. The Guard keeps a copy.
func (g *Guard) Offer(now time.Time, offered []string) Verdict {
	list := copyOf(offered)
	if g.held == nil || !slices.Equal(g.held.Endpoints, list) {
		g.held = &Held{Endpoints: list, Since: now}
	}
	g.unconfirmed = false
	return g.judge(now)
}

// Check says that time has passed while the last offered list still stands: a
// held list that has stood unchanged for long enough goes out. It must not be
// called while ZooKeeper can't be asked whether the list still stands.
func (g *Guard) Check(now time.Time) Verdict {
	if g.held == nil || g.unconfirmed {
		return g.verdict()
	}
	return g.judge(now)
}

// Accept lets the held list out, empty or not, because somebody who knows
// better says so. Without a held list it changes nothing.
func (g *Guard) Accept() Verdict {
	if g.held == nil {
		return g.verdict()
	}
	return g.release("accepted by an operator")
}

// judge lets the held list out, or says why it can't go.
func (g *Guard) judge(now time.Time) Verdict {
	reason := g.suspicion(g.held.Endpoints)
	if reason == "" {
		return g.release("")
	}
	if now.Before(g.held.Since) {
		// The clock was set back: what has passed is unknown, begin again.
		g.held.Since = now
	}
	if len(g.held.Endpoints) > 0 && now.Sub(g.held.Since) >= g.opts.Hold {
		return g.release(fmt.Sprintf("%s, but the list has stood unchanged for %v", reason, max(g.opts.Hold, 0)))
	}
	return g.verdict()
}

// suspicion returns why a list must not replace the served one at once, or "".
func (g *Guard) suspicion(list []string) string {
	left, served := len(list), len(g.served)
	switch {
	case left >= served:
		return ""
	case left == 0:
		return fmt.Sprintf("all %d endpoints are gone", served)
	case left < g.opts.MinimumSize:
		return fmt.Sprintf("%d of %d endpoints are left, fewer than the minimum size %d", left, served, g.opts.MinimumSize)
	case served >= minGuarded && left < ratioOf(g.opts.Ratio, served):
		return fmt.Sprintf("%d of %d endpoints are left, a smaller part than %g", left, served, g.opts.Ratio)
	}
	return ""
}

// ratioOf returns the least whole number that is at least ratio × n. Binary
// fractions must not raise it: 0.07 × 100 is 7, not 7.000000000000001.
func ratioOf(ratio float64, n int) int {
	return int(math.Ceil(ratio*float64(n) - 1e-9))
}

// release makes the held list the served one.
func (g *Guard) release(reason string) Verdict {
	changed := g.served == nil || !slices.Equal(g.served, g.held.Endpoints)
	g.served, g.held, g.unconfirmed = g.held.Endpoints, nil, false
	return Verdict{Serve: g.served, Changed: changed, Reason: reason}
}

// verdict describes a state that the call left as it was.
func (g *Guard) verdict() Verdict {
	v := Verdict{Serve: g.served}
	if g.held == nil {
		return v
	}
	v.Held, v.Offered, v.Reason = true, g.held.Endpoints, g.suspicion(g.held.Endpoints)
	switch {
	case g.unconfirmed:
		v.Reason = "held before a restart, and not seen in ZooKeeper since"
	case len(g.held.Endpoints) > 0:
		v.ReleaseAt = g.held.Since.Add(g.opts.Hold)
	}
	return v
}

// copyOf returns a sorted copy without duplicates, never nil.
func copyOf(endpoints []string) []string {
	return normalize(append([]string{}, endpoints...))
}
