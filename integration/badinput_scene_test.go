package integration

import (
	"fmt"
	"strings"
	"testing"
)

// goodKey is the config that goes on changing beside what is bad.
const goodKey = "good"

// company is monitors that serve a good config beside bad things.
type company struct {
	f     *fleet
	faces []*monitor
	good  string // the file of the good config
	n     int    // its content
}

// newCompany starts a monitor for each face.
func newCompany(f *fleet, cfg monitorConfig) *company {
	f.t.Helper()
	good := f.subscribe(goodKey)[0]
	f.publish(goodKey, 1)
	return &company{f, f.startFaces(cfg), good, 1}
}

// restart ends the monitors and starts them again, with further arguments.
func (c *company) restart(args ...string) {
	c.f.t.Helper()
	for i, m := range c.faces {
		m.terminate()
		c.faces[i] = c.f.launchFace(m.mode, monitorConfig{Dirs: m.dirs, Args: args})
		c.faces[i].awaitReady()
	}
}

// mustGoOn checks that the good config can change, and that nothing has died.
func (c *company) mustGoOn() {
	c.f.t.Helper()
	c.n++
	c.f.publish(goodKey, c.n)
	for _, m := range c.faces {
		m.awaitSoon(c.good, c.n)
		m.mustBeWell()
	}
}

// awaitTold waits until every monitor has told people of something.
func (c *company) awaitTold(texts ...string) {
	c.f.t.Helper()
	for _, m := range c.faces {
		m.awaitTold(texts...)
	}
}

// awaitNow waits until every monitor's status tells of something, which the log
// would also do after it has healed.
func (c *company) awaitNow(texts ...string) {
	c.f.t.Helper()
	for _, m := range c.faces {
		await(c.f.t, fmt.Sprintf("the status to tell %q", texts), func() error { return lacks(m.complaints(), texts) })
	}
}

// awaitContent waits until every monitor serves a content as a config.
func (c *company) awaitContent(name, want string) {
	c.f.t.Helper()
	for _, m := range c.faces {
		if took := m.awaitConfig(name, want); took > 2*soon {
			c.f.t.Errorf("%s was served after %v", name, took)
		}
	}
}

// awaitNoComplaint waits until no monitor's status tells of anything.
func (c *company) awaitNoComplaint() {
	c.f.t.Helper()
	for _, m := range c.faces {
		await(c.f.t, "the status to tell of nothing", func() error {
			if told := m.complaints(); len(told) > 0 {
				return fmt.Errorf("it tells %q", told)
			}
			return nil
		})
	}
}

// awaitTold waits until the monitor's log or its status says something: in one
// line that holds all of these texts.
func (m *monitor) awaitTold(texts ...string) {
	m.t.Helper()
	await(m.t, fmt.Sprintf("somebody to be told %q", texts), func() error {
		told := m.complaints()
		for line := range strings.Lines(m.stderr.String()) {
			// The log quotes what it says.
			told = append(told, strings.ReplaceAll(line, `\"`, `"`))
		}
		return lacks(told, texts)
	})
}

// complaints is all that the status finds wrong, each with the name of what it
// is about.
func (m *monitor) complaints() []string {
	m.t.Helper()
	var s status
	m.getJSON("/admin/status", &s)
	told := s.Warnings
	for _, files := range [][]fileStatus{s.Configs, s.Serversets} {
		for _, file := range files {
			if file.Error != "" {
				told = append(told, file.Name+": "+file.Error)
			}
		}
	}
	for _, nodes := range [][]nodeStatus{s.Metaconfigs, s.Dependencies} {
		for _, node := range nodes {
			if node.Error != "" {
				told = append(told, node.Name+": "+node.Error)
			}
		}
	}
	return told
}

// lacks returns nil if one of the lines holds all texts.
func lacks(lines, texts []string) error {
	for _, line := range lines {
		if containsAll(line, texts...) {
			return nil
		}
	}
	return fmt.Errorf("it tells:\n%s", strings.Join(lines, "\n"))
}

// subscribeWith makes boxDep list a metaconfig of the given text.
func (f *fleet) subscribeWith(name, text string) {
	f.t.Helper()
	f.publishRaw(metaconfigRoot+"/"+name, "1600000000.5", text)
	f.zk.addMember(boxDep, name)
}

// wantExit checks that a command failed with an exit code and said all of these
// texts, without a panic.
func wantExit(t testing.TB, r result, code int, texts ...string) result {
	t.Helper()
	if r.code != code || !containsAll(r.stderr, texts...) {
		t.Errorf("the exit code is %d, want %d; it says\n%swant all of %q", r.code, code, r.stderr, texts)
	}
	if strings.Contains(r.stderr, "goroutine ") {
		t.Errorf("it panicked:\n%s", r.stderr)
	}
	return r
}
