package register

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/store"
)

// errTaken says that somebody else registers the endpoint.
var errTaken = errors.New("somebody else has registered it")

// joinTries bounds how often is looked again because something changed
// meanwhile.
const joinTries = 5

// member is a service's znode in a serverset. Its methods look at what is there
// and do what is missing, so that they may be called at any time, by one
// goroutine. They keep the registration's status.
type member struct {
	r        *Registration
	conn     *zkconn.Conn
	parent   string // the serverset's znode
	name     string
	endpoint string
	joined   bool // we have been a member since Run began
}

func newMember(r *Registration, conn *zkconn.Conn, parent, endpoint string) *member {
	return &member{r: r, conn: conn, parent: parent, name: memberName(parent, endpoint), endpoint: endpoint}
}

func (m *member) path() string { return m.parent + "/" + m.name }

// owner is whose a znode is.
type owner uint8

const (
	nobody  owner = iota // there is none
	us                   // this session
	earlier              // a session that we had, or that a process had which has ended
	other                // somebody else
)

// whose tells whose our znode is. An earlier run that was killed, and whose
// session hasn't timed out yet, had the same name for it: see memberName. It
// can't be running, because only one process has the claim. But another machine
// may have the same name for it, if it was made from the same image, so who
// takes the znode away from us while we run is somebody else.
func (m *member) whose(stat store.Stat) owner {
	session := zkconn.SessionName(stat.EphemeralOwner)
	switch {
	case session == "":
		return other // persistent: nobody's registration
	case session == m.conn.Status().Session:
		return us
	case m.r.ours(session) || !m.joined:
		return earlier
	default:
		return other
	}
}

// join makes the service a member, if it isn't. After errTaken the observer is
// told when it is worth trying again.
func (m *member) join(ctx context.Context) error {
	for range joinTries {
		done, err := m.tryJoin(ctx)
		if done || err != nil {
			return err
		}
	}
	return errors.New("the serverset changes faster than it can be joined")
}

// tryJoin looks and takes one step. It returns true if nothing was to be done.
func (m *member) tryJoin(ctx context.Context) (done bool, err error) {
	// The server that we are connected to may lag behind.
	if err := m.conn.Sync(ctx, m.path()); err != nil {
		return false, err
	}
	_, stat, err := m.conn.GetWatched(ctx, m.path())
	whose := nobody
	switch {
	case err == nil:
		whose = m.whose(stat)
	case !errors.Is(err, store.NotFound):
		return false, err
	}
	if m.r.setRegistered(whose == us) {
		m.r.log.Info("registered", "serverset", m.parent, "endpoint", m.endpoint, "member", m.name)
	}
	if whose == other {
		return false, m.taken(m.name, stat)
	}
	if err := m.checkRivals(ctx, whose, stat); err != nil {
		return false, err
	}
	switch whose {
	case us:
		m.joined = true
		return true, nil
	case earlier:
		err = m.conn.ReplaceEphemeral(ctx, m.path(), []byte(m.endpoint), stat.Version)
		if err == nil {
			m.r.log.Info("replaced the registration of an earlier run", "member", m.name, "session", zkconn.SessionName(stat.EphemeralOwner))
		}
	default:
		err = m.create(ctx)
	}
	if errors.Is(err, store.NotFound) || errors.Is(err, store.Conflict) || errors.Is(err, store.Exists) {
		err = nil // it changed meanwhile: look again
	}
	return false, err
}

// create creates our znode.
func (m *member) create(ctx context.Context) error {
	_, _, err := m.conn.Get(ctx, m.parent)
	if errors.Is(err, store.NotFound) {
		m.r.log.Warn("the serverset doesn't exist, and is created; machines get it when a metaconfig names it", "serverset", m.parent)
	}
	return m.conn.CreateEphemeral(ctx, m.path(), []byte(m.endpoint))
}

// checkRivals returns errTaken if somebody else was first to register our
// endpoint. Then our own znode, if there is one, is removed: two who claim the
// same would hide from each other that the one has ceased to work.
func (m *member) checkRivals(ctx context.Context, whose owner, own store.Stat) error {
	children, _, err := m.conn.Children(ctx, m.parent)
	if err != nil && !errors.Is(err, store.NotFound) {
		return err
	}
	for _, name := range children {
		if endpoints, err := serverset.ParseMember(name); err != nil || name == m.name || !slices.Contains(endpoints, m.endpoint) {
			continue
		}
		_, stat, err := m.conn.GetWatched(ctx, m.parent+"/"+name)
		switch {
		case errors.Is(err, store.NotFound):
			continue
		case err != nil:
			return err
		case whose == us && own.Czxid < stat.Czxid:
			continue // they came later, and are to yield
		}
		if whose != nobody {
			if err := m.remove(ctx); err != nil {
				return err
			}
		}
		return m.taken(name, stat)
	}
	return nil
}

// taken says who has registered our endpoint, by what ZooKeeper knows of them.
func (m *member) taken(name string, stat store.Stat) error {
	session := zkconn.SessionName(stat.EphemeralOwner)
	if session == "" {
		return fmt.Errorf("endpoint %q: %w: the znode %q is persistent, so nobody keeps it; delete it",
			m.endpoint, errTaken, m.parent+"/"+name)
	}
	return fmt.Errorf("endpoint %q: %w: the member %q belongs to session %s, since %s; it is registered here when that has gone",
		m.endpoint, errTaken, name, session, stat.Ctime.UTC().Format(time.DateTime+"Z"))
}

// remove makes the service no member any more. A registration of somebody else
// stays.
func (m *member) remove(ctx context.Context) error {
	removed, err := m.tryRemove(ctx)
	if err != nil && !errors.Is(err, store.NotFound) {
		return err
	}
	m.r.setRegistered(false)
	if removed {
		m.r.setLeft() // also if it was an earlier run's
		m.r.log.Info("deregistered", "serverset", m.parent, "endpoint", m.endpoint, "member", m.name)
	}
	return nil
}

func (m *member) tryRemove(ctx context.Context) (removed bool, err error) {
	if err := m.conn.Sync(ctx, m.path()); err != nil {
		return false, err
	}
	_, stat, err := m.conn.Get(ctx, m.path())
	if err != nil || m.whose(stat) == other {
		return false, err
	}
	err = m.conn.Delete(ctx, m.path(), stat.Version)
	return err == nil, err
}

// leave removes the member at the end. Without a connection there is nothing to
// be done, but to let the session time out.
func (m *member) leave(ctx context.Context) error {
	s := m.r.Status()
	if !s.ZooKeeper.Connected && !s.Registered {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, leaveLimit, fmt.Errorf("not done within %v", leaveLimit))
	defer cancel()
	for {
		err := m.remove(ctx)
		if err == nil || ctx.Err() != nil {
			return m.explainLeave(err)
		}
		if !sleep(ctx, minRetry) {
			return m.explainLeave(err)
		}
	}
}

func (m *member) explainLeave(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("leaving the serverset; ZooKeeper removes the member within %v: %w", m.r.cfg.SessionTimeout, err)
}
