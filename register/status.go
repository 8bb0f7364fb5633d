package register

import (
	"slices"
	"time"
)

// State is how a registration stands.
type State string

// The states.
const (
	// StateStarting: it isn't known yet whether the service works, or
	// ZooKeeper wasn't reached yet. What an earlier run left registered stays.
	StateStarting State = "starting"
	// StateRegistered: the service is a member of the serverset.
	StateRegistered State = "registered"
	// StateUnhealthy: the checks fail. The service isn't a member.
	StateUnhealthy State = "unhealthy"
	// StateUnregistered: the service works, but can't be made a member. The
	// error says why. It is tried again.
	StateUnregistered State = "unregistered"
	// StateDisconnected: ZooKeeper has been away for longer than the session
	// lasts, and will have removed the member.
	StateDisconnected State = "disconnected"
	// StateStopped: Run has returned, and the service isn't a member.
	StateStopped State = "stopped"
)

// Status is how a registration stands at a moment. Its JSON is read by programs:
// add to it, never change it.
type Status struct {
	Service     string `json:"service"`
	Environment string `json:"environment"`
	ZKPath      string `json:"zk_path"`  // the serverset's znode
	Endpoint    string `json:"endpoint"` // host:port; "" until the host is known
	Member      string `json:"member"`   // the name of the member's znode; "" until then

	State      State     `json:"state"`
	Since      time.Time `json:"since"` // when it came to be in that state
	Registered bool      `json:"registered"`
	Health     Health    `json:"health"`
	// Error says why it isn't registered though the service works, or which
	// check fails; "" if nothing is wrong.
	Error string `json:"error"`
	// LeftAt is when the service ceased to be a member last; the zero time if it
	// was none or is one.
	LeftAt time.Time `json:"left_at,omitzero"`
	// Registrations counts how often the service was made a member.
	Registrations int64 `json:"registrations"`

	Checks    []CheckStatus   `json:"checks"`
	ZooKeeper ZooKeeperStatus `json:"zookeeper"`
}

// CheckStatus is how a check stands.
type CheckStatus struct {
	Name     string        `json:"name"`
	Passing  bool          `json:"passing"` // the last one passed
	Error    string        `json:"error"`   // what the last one said; "" if it passed
	Passed   int64         `json:"passed"`  // how many passed
	Failed   int64         `json:"failed"`  // how many failed
	LastAt   time.Time     `json:"last_at,omitzero"`
	LastTook time.Duration `json:"last_took_ns"`
	Took     time.Duration `json:"took_ns"` // all of them together
}

// ZooKeeperStatus is how the connection to ZooKeeper stands.
type ZooKeeperStatus struct {
	Connected bool   `json:"connected"`
	Session   string `json:"session"`
	Server    string `json:"server"`
	Error     string `json:"error"`
}

// Status returns how the registration stands. It may be called at any time.
func (r *Registration) Status() Status {
	r.mu.Lock()
	s := r.status
	s.Checks = slices.Clone(s.Checks)
	conn, lostAt := r.conn, r.lostAt
	r.mu.Unlock()
	if conn == nil {
		return s
	}
	z := conn.Status()
	s.ZooKeeper = ZooKeeperStatus{z.Connected, z.Session, z.Server, z.LastError}
	if gone := lostAt.Add(r.cfg.SessionTimeout); s.Registered && !lostAt.IsZero() && time.Now().After(gone) {
		s.State, s.Since, s.Registered, s.LeftAt, s.Error = StateDisconnected, gone, false, gone, noZooKeeper(z.LastError).Error()
	}
	return s
}

// describe sets State and Error by the rest. mu must be held.
func (r *Registration) describe(s *Status) {
	trouble := r.trouble
	if trouble == nil {
		trouble = r.failing
	}
	s.Error = text(trouble)
	switch {
	case s.Registered:
		s.State = StateRegistered
	case s.Health == Unhealthy:
		s.State = StateUnhealthy
	case s.Health == HealthUnknown:
		s.State = StateStarting
	case trouble != nil:
		s.State = StateUnregistered
	}
}

// update changes the status, with mu held, and tells Changed if it is another
// now.
func (r *Registration) update(change func(s *Status)) {
	r.telling.Lock()
	defer r.telling.Unlock()
	r.mu.Lock()
	before := r.status
	change(&r.status)
	if r.status.State != before.State {
		r.status.Since = time.Now()
	}
	if before.Registered != r.status.Registered {
		r.status.LeftAt = time.Time{}
		if before.Registered {
			r.status.LeftAt = time.Now()
		}
	}
	now := r.status
	news := now.State != before.State || now.Registered != before.Registered || now.Health != before.Health || now.Error != before.Error
	r.mu.Unlock()
	if news {
		r.cfg.Changed(r.Status())
	}
}
