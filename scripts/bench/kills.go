package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/scripts/internal/rig"
)

const readers = 4

// users are the processes that use files while workers are killed.
type users struct {
	readers []*rig.User // of what is served
	control *rig.User   // a reader of plain files
	others  []*rig.User
}

// measureKills kills the worker, again and again, under processes that use the
// files, while they are being updated.
func (b *bench) measureKills(ctx context.Context, m *rig.Monitor, fleet *rig.Fleet) error {
	kills := b.pick(100, 20)
	b.progress.Step("killing the worker %d times", kills)
	configs := killConfigs()
	u, err := b.startUsers(ctx, m, configs, len(fleet.Configs))
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	updater := &updater{rig: b.rig, configs: configs, stop: make(chan struct{})}
	group.Go(func() error { return updater.run(groupCtx) })
	group.Go(func() error {
		defer close(updater.stop)
		return b.killWorkers(groupCtx, m, updater, kills)
	})
	err = group.Wait()
	read, control, used, stopErr := u.stop()
	if err := errors.Join(err, stopErr); err != nil {
		return err
	}
	what := fmt.Sprintf("reads failed over %d kills -9 of the worker, %d readers", kills, readers)
	b.table.add("kills", what, count(read.Failed), nil).goal("0", read.Failed == 0)
	b.table.add("kills", "contents torn, or older than one read before, meanwhile", count(read.Torn+read.Back), nil).
		goal("0", read.Torn+read.Back == 0)
	b.table.add("kills", "failures of a stat loop, an ls -l loop, an open descriptor", count(used.Failed+used.Torn), nil).
		goal("0", used.Failed+used.Torn == 0)
	const most = 150 * time.Millisecond
	b.table.add("kills", "longest open+read+close meanwhile, against one of plain files", seconds(read.Longest), seconds(control.Longest)).
		goal("≤ 150 ms", read.Longest <= most)
	if err := errors.Join(read.Wrong(), control.Wrong(), used.Wrong()); err != nil {
		return fmt.Errorf("%w\nthe monitor's last warnings:\n%s", err, m.Log())
	}
	return nil
}

// startUsers starts the processes. One more reads plain files, as busily: how
// long it has to wait is the machine's doing.
func (b *bench) startUsers(ctx context.Context, m *rig.Monitor, configs []rig.Config, entries int) (*users, error) {
	plain, err := b.rig.NewDir("control")
	if err != nil {
		return nil, err
	}
	for _, c := range configs {
		if err := os.WriteFile(filepath.Join(plain, c.File()), []byte(rig.Content(0, c.Size)), 0o644); err != nil {
			return nil, err
		}
	}
	shared, err := b.rig.NewDir("newest")
	if err != nil {
		return nil, err
	}
	u := new(users)
	start := func(list *[]*rig.User, user *rig.User, startErr error) {
		err = errors.Join(err, startErr)
		if user != nil {
			*list = append(*list, user)
		}
	}
	for range readers {
		user, startErr := rig.StartReader(ctx, filepath.Join(shared, "served"), m.ConfigDir, configs, 0)
		start(&u.readers, user, startErr)
	}
	user, startErr := rig.StartStats(ctx, m.ConfigDir, configs)
	start(&u.others, user, startErr)
	user, startErr = rig.StartLists(ctx, m.ConfigDir, entries+1) // and the directory of deciders
	start(&u.others, user, startErr)
	user, startErr = rig.StartHold(ctx, m.Config(configs[0]), configs[0].Size)
	start(&u.others, user, startErr)
	u.control, startErr = rig.StartReader(ctx, filepath.Join(shared, "plain"), plain, configs, 0)
	if err = errors.Join(err, startErr); err != nil {
		_, _, _, stopErr := u.stop()
		return nil, errors.Join(err, stopErr)
	}
	return u, nil
}

// stop ends the processes and adds up what they report.
func (u *users) stop() (read, control, used rig.Report, err error) {
	for _, all := range []struct {
		users []*rig.User
		sum   *rig.Report
	}{{u.readers, &read}, {u.others, &used}, {[]*rig.User{u.control}, &control}} {
		for _, user := range all.users {
			if user == nil {
				continue
			}
			report, stopErr := user.Stop()
			err = errors.Join(err, stopErr)
			all.sum.Add(report)
		}
	}
	return read, control, used, err
}

// updater publishes contents of configs by turns.
type updater struct {
	rig     *rig.Rig
	configs []rig.Config
	stop    chan struct{}
}

// updatePause is between two updates.
const updatePause = 5 * time.Millisecond

func (u *updater) run(ctx context.Context) error {
	for n := 1; ; n++ {
		for _, c := range u.configs {
			select {
			case <-u.stop:
				return nil
			default:
			}
			if err := u.rig.Publish(ctx, c, n); err != nil {
				return err
			}
			if err := rig.Sleep(ctx, updatePause); err != nil {
				return err
			}
		}
	}
}

// killWorkers kills a worker when it has published something.
func (b *bench) killWorkers(ctx context.Context, m *rig.Monitor, u *updater, kills int) error {
	first, worker := u.configs[0], 0
	for killed := range kills {
		b.progress.Count(killed, kills)
		var err error
		if _, err = m.AwaitWorker(ctx, worker); err != nil {
			return err
		}
		if worker, err = m.KillWorker(); err != nil {
			return err
		}
		// Two contents on: the next may have been on its way already.
		last, err := m.ReadContent(first)
		if err != nil {
			return err
		}
		if err := m.AwaitContent(ctx, first, last+2); err != nil {
			return fmt.Errorf("after kill %d: %w", killed+1, err)
		}
		if err := rig.Sleep(ctx, time.Duration(50+rand.IntN(200))*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
