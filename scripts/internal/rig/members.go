package rig

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

// Membership makes endpoints members of one serverset, which must be there. It
// goes on where ZooKeeper is away for a while. It is for one goroutine.
type Membership struct {
	rig       *Rig
	serverset Serverset
	znodes    map[int]string // of the members, by number
}

// Membership returns the membership of a serverset without members.
func (r *Rig) Membership(s Serverset) *Membership {
	return &Membership{rig: r, serverset: s, znodes: map[int]string{}}
}

// Len returns how many members there are.
func (m *Membership) Len() int { return len(m.znodes) }

// Join makes the endpoint with a number a member.
func (m *Membership) Join(ctx context.Context, i int) error {
	endpoint := m.serverset.endpoint(i)
	znode := m.serverset.Path() + "/" + memberName(endpoint)
	m.znodes[i] = znode
	return retry(ctx, func() error { return m.rig.writer.CreateEphemeral(ctx, znode, []byte(endpoint)) })
}

// Leave ends the membership of the endpoint with a number.
func (m *Membership) Leave(ctx context.Context, i int) error {
	znode := m.znodes[i]
	delete(m.znodes, i)
	return retry(ctx, func() error {
		err := m.rig.writer.Delete(ctx, znode, store.AnyVersion)
		if errors.Is(err, store.NotFound) {
			return nil // an answer was lost
		}
		return err
	})
}

// SetPatiently is Set that goes on where ZooKeeper is away for a while.
func (r *Rig) SetPatiently(ctx context.Context, c Config, n int) error {
	return retry(ctx, func() error {
		_, err := r.writer.Set(ctx, c.Path(), []byte(versionOf(n)), store.AnyVersion)
		return err
	})
}

// writerPatience is how long ZooKeeper may be away for those who write patiently.
// Their session must survive that, or else the members go.
const (
	writerPatience = time.Minute
	writerSession  = 30 * time.Second
)

// retry tries again what fails because ZooKeeper is away.
func retry(ctx context.Context, request func() error) error {
	deadline := time.Now().Add(writerPatience)
	for {
		err := request()
		if err == nil || !errors.Is(err, store.Unavailable) || time.Now().After(deadline) {
			return err
		}
		if sleepErr := Sleep(ctx, 20*time.Millisecond); sleepErr != nil {
			return fmt.Errorf("%w (%w)", sleepErr, err)
		}
	}
}
