package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/scripts/internal/report"
	"github.com/kingpinfs/kingpin/scripts/internal/rig"
)

const (
	contentSize = 4 << 10
	members     = 20
	readers     = 2
	// readPause keeps the readers from taking the processors for themselves.
	readPause   = 500 * time.Microsecond
	updatePause = 20 * time.Millisecond
	memberPause = 250 * time.Millisecond

	killsPerRound = 3
	// betweenEvents is how long updates go on between two events of a round, and
	// how long the monitor has to come to rest at its end.
	betweenEvents = 3 * time.Second
	// arrival is how long the last change may take to reach files and watchers
	// once nothing happens any more: a lost session, say, is read again over 5 s.
	arrival = 20 * time.Second
)

// soakFleet is small: what leaks, leaks with each event.
func soakFleet() *rig.Fleet {
	f := &rig.Fleet{Dependency: "soak.dep"}
	for i := range 50 {
		f.Configs = append(f.Configs, rig.Config{Domain: "soak", Key: fmt.Sprintf("key_%02d", i), Size: contentSize})
	}
	for i := range 4 {
		f.Serversets = append(f.Serversets, rig.Serverset{Service: fmt.Sprintf("service_%d", i)})
	}
	return f
}

// soak is one run.
type soak struct {
	progress *report.Progress
	pause    time.Duration // between two events of a round, and at its end
	fleet    *rig.Fleet
	rig      *rig.Rig
	monitor  *rig.Monitor
	watchers *rig.Watchers
	members  []*rig.Membership

	// latest is the content that each config has got last; content 0 if none.
	latest  map[rig.Config]int
	done    counts
	read    rig.Report
	samples [2]sample // after the first round, and at the end
}

// counts are of what has been done.
type counts struct{ rounds, updates, joins, kills, restarts, watchers int }

// watched are the configs that have watchers.
func (s *soak) watched() []rig.Config { return s.fleet.Configs[:8] }

func newSoak(stderr io.Writer, pause time.Duration) *soak {
	return &soak{progress: report.NewProgress("soak", stderr), pause: pause, fleet: soakFleet(), latest: map[rig.Config]int{}}
}

// run returns an error if anything went wrong. Whether something has grown is
// another question.
func (s *soak) run(ctx context.Context, binary string, period time.Duration) (err error) {
	s.progress.Step("starting ZooKeeper, S3 and a monitor")
	if s.rig, err = rig.Start(ctx, binary, rig.MemoryS3); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.rig.Close()) }()
	if err := s.rig.Fill(ctx, s.fleet); err != nil {
		return err
	}
	for _, serverset := range s.fleet.Serversets {
		m := s.rig.Membership(serverset)
		s.members = append(s.members, m)
		for i := range members {
			if err := m.Join(ctx, i); err != nil {
				return err
			}
		}
	}
	if s.monitor, err = s.rig.StartMonitor(ctx, s.fleet); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.monitor.Stop()) }()
	if s.watchers, err = rig.StartWatchers(ctx, s.monitor.ConfigDir, s.watched()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.watchers.Stop()) }()
	users, err := s.startUsers(ctx)
	if err == nil {
		err = s.runRounds(ctx, period)
	}
	for _, user := range users {
		read, stopErr := user.Stop()
		s.read.Add(read)
		err = errors.Join(err, stopErr)
	}
	if err = errors.Join(err, s.read.Wrong()); err != nil {
		err = fmt.Errorf("%w\nthe monitor's last warnings:\n%s", err, s.monitor.Log())
	}
	return err
}

// startUsers starts the processes that use the files all the time. They must be
// stopped also if there is an error.
func (s *soak) startUsers(ctx context.Context) (users []*rig.User, err error) {
	shared, err := s.rig.NewDir("newest")
	if err != nil {
		return nil, err
	}
	dir, configs := s.monitor.ConfigDir, s.fleet.Configs
	start := func(user *rig.User, startErr error) {
		if err = errors.Join(err, startErr); user != nil {
			users = append(users, user)
		}
	}
	for range readers {
		start(rig.StartReader(ctx, filepath.Join(shared, "newest"), dir, configs, readPause))
	}
	start(rig.StartStats(ctx, dir, configs))
	start(rig.StartLists(ctx, dir, len(configs)+1)) // and the directory of deciders
	start(rig.StartHold(ctx, s.monitor.Config(configs[0]), contentSize))
	return users, err
}

// runRounds runs rounds until the time is over, and takes the samples: the first
// when all that can happen has happened once.
func (s *soak) runRounds(ctx context.Context, period time.Duration) error {
	var end time.Time
	for {
		s.done.rounds++
		if end.IsZero() {
			s.progress.Step("first round")
		} else {
			s.progress.Step("round %d, %v to go", s.done.rounds, time.Until(end).Round(time.Second))
		}
		if err := s.round(ctx); err != nil {
			return fmt.Errorf("in round %d: %w", s.done.rounds, err)
		}
		taken, err := s.sample()
		if err != nil {
			return fmt.Errorf("after round %d: %w", s.done.rounds, err)
		}
		s.samples[1] = taken
		switch {
		case end.IsZero():
			s.samples[0] = taken
			end = time.Now().Add(period)
		case time.Now().After(end):
			return nil
		}
	}
}

// round lets everything happen once, under updates, and then looks whether all
// has arrived.
func (s *soak) round(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	stop := make(chan struct{})
	group.Go(func() error { return s.update(groupCtx, stop) })
	group.Go(func() error { return s.joinAndLeave(groupCtx, stop) })
	group.Go(func() error {
		defer close(stop)
		return s.events(groupCtx)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return s.settle(ctx)
}

// events is what happens beside updates. It ends with a kill, so that workers are
// as old at each sample.
func (s *soak) events(ctx context.Context) error {
	others, err := rig.StartWatchers(ctx, s.monitor.ConfigDir, s.watched())
	if err != nil {
		return err
	}
	s.done.watchers++
	steps := []func(context.Context) error{s.restartZooKeeper}
	for range killsPerRound - 1 {
		steps = append(steps, s.killWorker)
	}
	steps = append(steps, func(context.Context) error { return others.Stop() }, s.killWorker)
	for _, step := range steps {
		if err := rig.Sleep(ctx, s.pause); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return rig.Sleep(ctx, s.pause)
}

func (s *soak) restartZooKeeper(ctx context.Context) error {
	s.done.restarts++
	return s.rig.RestartZooKeeper(ctx)
}

func (s *soak) killWorker(ctx context.Context) error {
	killed, err := s.monitor.KillWorker()
	if err != nil {
		return err
	}
	s.done.kills++
	_, err = s.monitor.AwaitWorker(ctx, killed)
	return err
}

// update publishes contents of all configs by turns until stop is closed.
func (s *soak) update(ctx context.Context, stop <-chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		c := s.fleet.Configs[i%len(s.fleet.Configs)]
		n := s.latest[c] + 1
		if err := s.rig.Put(ctx, c, n); err != nil {
			return err
		}
		if err := s.rig.SetPatiently(ctx, c, n); err != nil {
			return err
		}
		s.latest[c] = n
		s.done.updates++
		if err := rig.Sleep(ctx, updatePause); err != nil {
			return err
		}
	}
}

// joinAndLeave has a member of each serverset leave, and the one that left before
// come back, until stop is closed.
func (s *soak) joinAndLeave(ctx context.Context, stop <-chan struct{}) error {
	for i := 0; ; i++ {
		for _, m := range s.members {
			if err := m.Leave(ctx, i%members); err != nil {
				return err
			}
		}
		if err := rig.Sleep(ctx, memberPause); err != nil {
			return err
		}
		for _, m := range s.members {
			if err := m.Join(ctx, i%members); err != nil {
				return err
			}
			s.done.joins++
		}
		select {
		case <-stop:
			return nil
		default:
		}
	}
}

// settle returns when everybody has what was published last, and the monitor has
// had the time to come to rest.
func (s *soak) settle(ctx context.Context) error {
	for _, c := range s.fleet.Configs {
		if err := s.monitor.AwaitContent(ctx, c, s.latest[c]); err != nil {
			return err
		}
	}
	for i, serverset := range s.fleet.Serversets {
		if err := s.monitor.AwaitEndpoints(ctx, serverset, s.members[i].Len()); err != nil {
			return err
		}
	}
	for _, c := range s.watched() {
		if err := s.watchers.Await(ctx, c, s.latest[c], arrival); err != nil {
			return err
		}
	}
	return rig.Sleep(ctx, s.pause)
}
