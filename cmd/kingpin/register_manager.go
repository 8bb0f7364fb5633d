package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/kingpinfs/kingpin/internal/sdnotify"
	"github.com/kingpinfs/kingpin/register"
)

// stuckAfter is how much later than it should a check may be over before the
// watchdog isn't fed any more.
const stuckAfter = 30 * time.Second

// managerNews tells the service manager how a registration stands, in a goroutine
// of its own: the manager may take its time to listen.
type managerNews struct {
	news  chan struct{} // one slot
	stuck time.Duration // how long no check may be over
}

// newManagerNews returns what tells of a registration that makes checks at an
// interval, each with a timeout.
func newManagerNews(interval, timeout time.Duration) *managerNews {
	// The next round may have to wait for the slowest check of the one before.
	return &managerNews{make(chan struct{}, 1), max(interval, timeout) + timeout + stuckAfter}
}

// changed has the manager told. It doesn't block.
func (m *managerNews) changed(register.Status) {
	fill(m.news)
}

// follow tells the manager what changes, until end is called.
func (m *managerNews) follow(registration *register.Registration, log *slog.Logger) (end func()) {
	if !sdnotify.Enabled() {
		return func() {}
	}
	var beat <-chan time.Time
	if interval := sdnotify.WatchdogInterval(); interval > 0 {
		ticker := time.NewTicker(interval / 2)
		beat = ticker.C
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ready, told := false, ""
		for {
			text := ""
			select {
			case <-done:
				return
			case <-beat:
				if m.checking(registration.Status()) {
					text = "WATCHDOG=1"
				}
			case <-m.news:
				s := registration.Status()
				text = "STATUS=" + describeRegistration(s)
				if s.State == register.StateStopped {
					text += "\nSTOPPING=1"
				}
				if s.Registered && !ready {
					ready = true
					text += "\nREADY=1"
				}
			}
			if text == "" || text == told {
				continue
			}
			if text != "WATCHDOG=1" {
				told = text
			}
			if err := sdnotify.Notify(text); err != nil {
				log.Warn("the service manager can't be told", "error", err)
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// checking says whether checks are made, if it has come to that.
func (m *managerNews) checking(s register.Status) bool {
	for _, check := range s.Checks {
		if !check.LastAt.IsZero() && time.Since(check.LastAt) > m.stuck {
			return false
		}
	}
	return true
}

// describeRegistration says in a line how a registration stands.
func describeRegistration(s register.Status) string {
	line := fmt.Sprintf("%s: %s %s", s.State, s.Endpoint, s.ZKPath)
	if s.Error != "" {
		line += ": " + s.Error
	}
	return line
}
