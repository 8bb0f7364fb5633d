package integration

import (
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

// callsFor says how long servers come and go under calls; see CONTRIBUTING.md.
const callsFor = "KINGPIN_TEST_CALLS_FOR"

// TestCallsWhileServersComeAndGo has 200 goroutines call a service through one
// pool, while its servers are killed, stopped, replaced, and hang, and the monitor
// that serves the file of its members is killed. No call of a method that may be
// made again fails; none of the other one is executed twice; and a server that
// hangs costs nobody more than a call's time.
func TestCallsWhileServersComeAndGo(t *testing.T) {
	for name, run := range map[string]struct {
		kind serverKind
		long time.Duration
	}{
		"go":     {goServer, 20 * time.Second},
		"python": {pythonServer, 0}, // one round
	} {
		t.Run(name, func(t *testing.T) {
			long := run.long
			if text := os.Getenv(callsFor); text != "" {
				var err error
				if long, err = time.ParseDuration(text); err != nil {
					t.Fatalf("%s: %v", callsFor, err)
				}
			}
			s := newThriftService(newFleet(t, gofakes3), run.kind, 3)
			c := startCallers(s, 200, 50)
			c.awaitCalls(1)
			c.mustSpread()
			begun := time.Now()
			for round := 1; round == 1 || time.Since(begun) < long; round++ {
				c.killServer()
				c.stopServer()
				c.killWorker()
				c.hangServer()
				c.killMonitor()
				t.Logf("after round %d: %v", round, time.Since(begun).Round(time.Second))
			}
			c.mustSpread()
			c.check()
		})
	}
}

// replace starts a server in the place of one that is gone, and waits until it is
// called.
func (c *callers) replace() {
	c.t.Helper()
	server := c.s.start()
	c.s.awaitFile()
	c.awaitAnswers(server)
	c.awaitCalls(2)
}

// killServer kills a server under its calls.
func (c *callers) killServer() {
	c.t.Helper()
	server := c.s.servers[0]
	c.harm(server)
	c.s.kill(server)
	c.healed(server)
	c.awaitCalls(2)
	c.replace()
}

// stopServer stops a server as for an update. Not even a call that can't be made
// again may fail of that.
func (c *callers) stopServer() {
	c.t.Helper()
	c.s.stop(c.s.servers[0])
	c.replace()
}

// hangServer stops a server from answering, while its connections stay open and
// new ones can be made. All calls end nevertheless.
func (c *callers) hangServer() {
	c.t.Helper()
	server := c.s.servers[0]
	c.harm(server)
	kill(c.t, server.pid, syscall.SIGSTOP)
	c.awaitCalls(3)
	kill(c.t, server.pid, syscall.SIGCONT)
	c.awaitCalls(1) // calls that it hadn't received yet may be over before it is awake
	c.healed(server)
	c.s.stop(server)
	c.replace()
}

// killWorker kills the process that serves the file.
func (c *callers) killWorker() {
	c.t.Helper()
	worker := c.s.m.workerPID()
	kill(c.t, worker, syscall.SIGKILL)
	c.awaitCalls(1)
	c.s.m.awaitOtherWorker(worker)
	c.awaitCalls(1)
}

// killMonitor kills the whole monitor, and most servers while there is none: the
// file goes on to list them, and no more than one can be ejected.
func (c *callers) killMonitor() {
	c.t.Helper()
	c.s.m.kill()
	c.awaitCalls(1)
	for _, server := range slices.Clone(c.s.servers[:2]) {
		c.harm(server)
		c.s.kill(server)
		c.healed(server)
	}
	c.awaitCalls(2)
	c.s.m = c.s.f.startMonitor(c.s.cfg)
	c.s.awaitFile()
	c.replace()
	c.replace()
}
