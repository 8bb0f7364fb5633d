package register

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/store"
)

const (
	// tryLimit bounds an attempt to bring ZooKeeper in line with the checks.
	tryLimit = 10 * time.Second
	// leaveLimit bounds the attempt to leave the serverset at the end. If
	// ZooKeeper isn't reached in that time the session ends by itself.
	leaveLimit = 3 * time.Second
	// What is waited after an attempt that failed: at first, and at most.
	minRetry, maxRetry = 100 * time.Millisecond, 5 * time.Second
	// claimRetry is how often is looked whether another process of this machine
	// has ceased to register the same.
	claimRetry = time.Second
)

// Registration keeps a service registered while it works.
type Registration struct {
	cfg   Config
	log   *slog.Logger
	pokes chan struct{} // one slot: look what there is to do

	// telling is held while the status changes and Changed is told, so that it
	// hears of changes in the order in which they happen. It is taken before mu.
	telling sync.Mutex

	mu       sync.Mutex // guards the rest
	status   Status
	failing  error // what the last round of checks said
	trouble  error // why it can't be registered, or can't leave
	conn     *zkconn.Conn
	lostAt   time.Time          // since when there is no connection; zero if there is one
	sessions map[string]bool    // the sessions that we had
	giveUp   context.CancelFunc // ends the attempt that is made
	ran      bool
}

// New returns a registration that does nothing until Run is called.
func New(cfg Config) *Registration {
	cfg.setDefaults()
	r := &Registration{cfg: cfg, log: cfg.Logger, pokes: make(chan struct{}, 1), sessions: map[string]bool{}, giveUp: func() {}}
	r.status = Status{
		Service: cfg.Service, Environment: cfg.Environment,
		State: StateStarting, Since: time.Now(), Health: HealthUnknown,
	}
	for _, check := range cfg.Checks {
		r.status.Checks = append(r.status.Checks, CheckStatus{Name: check.String()})
	}
	return r
}

// Run checks the service, and keeps it registered while it works, until ctx is
// done. Then it leaves the serverset, and returns nil when ZooKeeper has
// confirmed it; the error Unavailable says that ZooKeeper couldn't be reached,
// and removes the member when the session times out. Other errors are Invalid,
// and come before anything was registered. Run may be called once.
func (r *Registration) Run(ctx context.Context) error {
	path, err := r.cfg.check()
	if err != nil {
		return err
	}
	config, err := r.cfg.zookeeper(r)
	if err != nil {
		return err
	}
	conn := zkconn.New(config)
	if err := r.begin(conn, path); err != nil {
		return err
	}
	if err := conn.Open(); err != nil {
		return err
	}
	defer conn.Close()
	endpoint, err := r.findEndpoint(ctx, conn, config.Servers)
	if err != nil {
		if ctx.Err() != nil {
			err = nil // nothing was registered
		}
		r.update(func(s *Status) { s.State, s.Error = StateStopped, text(err) })
		return err
	}
	return r.keep(ctx, newMember(r, conn, path, endpoint), config)
}

// begin makes sure that Run is called once.
func (r *Registration) begin(conn *zkconn.Conn, path string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ran {
		return &store.Error{Op: "registering", Subject: path, Kind: store.Invalid, Err: errors.New("Run was called before")}
	}
	r.ran, r.conn, r.status.ZKPath, r.lostAt = true, conn, path, time.Now()
	return nil
}

// keep makes the checks and acts on them until ctx is done, and then leaves.
func (r *Registration) keep(ctx context.Context, m *member, config zkconn.Config) error {
	r.update(func(s *Status) { s.Endpoint, s.Member = m.endpoint, m.name })
	r.log.Info("checking the service", "serverset", m.parent, "endpoint", m.endpoint)
	var checking sync.WaitGroup
	defer checking.Wait()
	checked, stop := context.WithCancel(ctx)
	defer stop()
	checking.Go(func() { r.rounds(checked, m.endpoint) })

	claim, err := r.awaitClaim(ctx, claimName(config.Servers, config.Chroot, m.parent, m.endpoint))
	if err == nil {
		defer claim.release()
		r.follow(ctx, m)
		err = m.leave(context.WithoutCancel(ctx))
	}
	if ctx.Err() != nil && claim == nil {
		err = nil // nothing was registered
	}
	r.update(func(s *Status) { s.State, s.Registered, s.Error = StateStopped, false, text(err) })
	return err
}

// awaitClaim waits until no other process of this machine registers the same.
func (r *Registration) awaitClaim(ctx context.Context, name string) (*claim, error) {
	for told := ""; ; {
		claim, err := takeClaim(ctx, name)
		if err == nil {
			r.setTrouble(nil)
			return claim, nil
		}
		r.setTrouble(err)
		if err.Error() != told {
			told = err.Error()
			r.log.Error("the service isn't registered", "error", err)
		}
		if !sleep(ctx, claimRetry) {
			return nil, err
		}
	}
}

// follow does what the checks say until ctx is done.
func (r *Registration) follow(ctx context.Context, m *member) {
	wait, told := minRetry, ""
	for ctx.Err() == nil {
		err := r.act(ctx, m)
		if ctx.Err() != nil {
			return
		}
		r.setTrouble(err)
		if said := text(err); said != told {
			told = said
			if err != nil && !errors.Is(err, errNoZooKeeper) { // which the client logs
				r.log.Error("the registration isn't as the checks say", "error", err)
			}
		}
		var retry <-chan time.Time
		switch {
		case err == nil:
			wait = minRetry
		case errors.Is(err, errTaken), errors.Is(err, errNoZooKeeper): // a poke tells when to look again
		default:
			retry = time.After(wait/2 + rand.N(wait/2))
			wait = min(2*wait, maxRetry)
		}
		select {
		case <-ctx.Done():
		case <-r.pokes:
		case <-retry:
		}
	}
}

// errNoZooKeeper says that there is no connection.
var errNoZooKeeper = errors.New("there is no connection to ZooKeeper")

func noZooKeeper(why string) error {
	if why == "" {
		return errNoZooKeeper
	}
	return fmt.Errorf("%w: %s", errNoZooKeeper, why)
}

// act brings ZooKeeper in line with the checks, if it is there.
func (r *Registration) act(ctx context.Context, m *member) error {
	ctx, cancel := context.WithTimeoutCause(ctx, tryLimit, fmt.Errorf("not done within %v", tryLimit))
	defer cancel()
	r.mu.Lock()
	r.giveUp = cancel
	asChecked := r.status.Registered == (r.status.Health == Healthy)
	r.mu.Unlock()
	if z := m.conn.Status(); !z.Connected {
		if asChecked {
			return nil // the session may live on
		}
		return noZooKeeper(z.LastError)
	}
	var err error
	switch r.Status().Health {
	case Healthy:
		err = m.join(ctx)
	case Unhealthy:
		err = m.remove(ctx)
	case HealthUnknown:
	}
	if z := m.conn.Status(); err != nil && !z.Connected {
		return noZooKeeper(z.LastError)
	}
	return err
}

// poke has follow look what there is to do.
func (r *Registration) poke() {
	select {
	case r.pokes <- struct{}{}:
	default: // it will look anyway
	}
}

func (r *Registration) setTrouble(err error) {
	r.update(func(s *Status) {
		r.trouble = err
		r.describe(s)
	})
}

// setRegistered says whether the service is a member, and returns true if it has
// become one.
func (r *Registration) setRegistered(is bool) (news bool) {
	r.update(func(s *Status) {
		if news = is && !s.Registered; news {
			s.Registrations++
			r.trouble = nil
		}
		s.Registered = is
		r.describe(s)
	})
	return news
}

// setLeft says that the service has just ceased to be a member.
func (r *Registration) setLeft() { r.update(func(s *Status) { s.LeftAt = time.Now() }) }

// ours says whether a session is, or was, this registration's.
func (r *Registration) ours(session string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[session]
}

// ZnodeChanged implements zkconn.Observer.
func (r *Registration) ZnodeChanged(string) { r.poke() }

// SessionChanged implements zkconn.Observer.
func (r *Registration) SessionChanged(state zkconn.SessionState) {
	r.mu.Lock()
	switch state.Event {
	case zkconn.Connected:
		r.sessions[state.Session] = true
		r.lostAt = time.Time{}
	case zkconn.Disconnected:
		r.lostAt = time.Now()
		r.giveUp() // by the time that there is a connection, the checks may say otherwise
	case zkconn.Expired:
	}
	r.mu.Unlock()
	r.poke()
}

// text is an error's text in one line, "" for none.
func text(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// sleep waits for d, and says whether ctx was not done meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
