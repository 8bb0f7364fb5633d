package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	fleetclient "github.com/kingpinfs/kingpin/fleet"
	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

// The list and the deciders that everybody writes.
const (
	sharedDomain, sharedKey = "spam", "grey_list"
	sharedList              = sharedDomain + "." + sharedKey
)

// writer is one of those who write at the same time, by one of the ways to do it.
// Its methods return when it has been told what became of the write. An error is
// one that no failure of the network explains.
type writer interface {
	// add appends entries that the list doesn't have.
	add(entries []string) (outcome, error)
	// set sets a decider to a value that it doesn't have.
	set(name string, value int) (outcome, error)
	// pace is how many writes it makes while the slowest makes one, by and large.
	pace() int
}

// outcomeOf says what the error of a write tells.
func outcomeOf(version string, err error) (outcome, error) {
	switch {
	case err == nil && version == "":
		return outcome{}, errors.New("a write was acknowledged without a version")
	case err == nil:
		return outcome{done, version}, nil
	case store.KindOf(err) != store.Unavailable:
		return outcome{}, err
	default:
		return outcome{answer: answerOf(err.Error())}, nil
	}
}

// answerOf is what docs/managed-data.md promises of a backend that couldn't be
// reached: nothing was published, unless the text says that nobody knows.
func answerOf(message string) answer {
	if strings.Contains(message, "the outcome is unknown") {
		return unknown
	}
	return refused
}

// program writes by the packages managed and fleet.
type program struct {
	ctx  context.Context
	list *managed.List
	all  *managed.Decider
}

// startBackends connects a program, for as long as the test lasts.
func (f *fleet) startBackends(way route) *fleetclient.Fleet {
	f.t.Helper()
	backends, err := fleetclient.Open(f.t.Context(), fleetclient.Config{
		ZooKeeper: way.zk, Bucket: f.server.bucket, Endpoint: way.s3Endpoint, KeyFile: f.keyFile,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(backends.Close)
	return backends
}

// startProgram returns a program that lasts as long as the test.
func (f *fleet) startProgram(way route) *program {
	f.t.Helper()
	options := managed.Options{Client: f.startBackends(way).Configs()}
	return &program{f.t.Context(), managed.NewList(sharedDomain, sharedKey, options), managed.NewDecider(options)}
}

func (p *program) add(entries []string) (outcome, error) {
	value, err := p.list.Add(p.ctx, store.Write{Author: "program"}, entries...)
	return outcomeOf(string(value.Version), err)
}

func (p *program) set(name string, value int) (outcome, error) {
	published, err := p.all.Set(p.ctx, store.Write{Author: "program"}, name, value)
	return outcomeOf(string(published.Version), err)
}

func (*program) pace() int { return 4 }

// commander writes by commands.
type commander struct {
	f   *fleet
	way route
}

func (c *commander) add(entries []string) (outcome, error) {
	return c.change(append([]string{"list", "add", sharedList}, entries...)...)
}

func (c *commander) set(name string, value int) (outcome, error) {
	return c.change("decider", "set", name, strconv.Itoa(value))
}

func (*commander) pace() int { return 1 }

func (c *commander) change(args ...string) (outcome, error) {
	r, err := c.f.attempt(c.way.env(), "", args...)
	switch {
	case err != nil:
		return outcome{}, err
	case r.code == 0:
		return outcomeOf(strings.TrimSpace(r.stdout), nil)
	case r.code == 4 && r.stdout == "":
		return outcome{answer: answerOf(r.stderr)}, nil
	default:
		return outcome{}, fmt.Errorf("kingpin %q: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
}

// pythonProgram writes as KingPin's Python library does, which gives up if
// somebody else holds the lock or has changed the list. The versions that it makes
// may be older than those before, and so aren't told.
type pythonProgram struct{ *pythonWriter }

func (p pythonProgram) add(entries []string) (outcome, error) {
	text, err := json.Marshal(entries)
	if err != nil {
		return outcome{}, err
	}
	switch answer, err := p.ask("extend %s", text); {
	case err != nil:
		return outcome{}, err
	case strings.HasPrefix(answer, "ok "):
		return outcome{}, nil
	case answer == "locked" || answer == "conflict":
		return outcome{answer: refused}, nil
	default:
		return outcome{}, fmt.Errorf("the Python writer says %q", answer)
	}
}

func (p pythonProgram) set(string, int) (outcome, error) {
	return outcome{}, errors.New("the Python writer sets no deciders")
}

func (pythonProgram) pace() int { return 8 }

// mountProgram writes through the mount of a monitor: testdata/mount_writer.py.
type mountProgram struct{ *pythonScript }

func (m *monitor) startMountProgram() mountProgram {
	m.t.Helper()
	needProgram(m.t, "bash")
	return mountProgram{startPythonScript(m.t, "testdata/mount_writer.py", m.config(""))}
}

func (m mountProgram) add(entries []string) (outcome, error) {
	return m.write("add", "config.manageddata."+sharedList, entries)
}

func (m mountProgram) set(name string, value int) (outcome, error) {
	return m.write("set", name, value, !strings.HasPrefix(name, rival))
}

// pace is not that of commands, because whole files are refused if anybody else
// was faster.
func (mountProgram) pace() int { return 2 }

// write gives a command. What the errors mean is said in docs/managed-data.md; for
// EROFS the kernel has taken the writers' way through the mount away, which comes
// back.
func (m mountProgram) write(command ...any) (outcome, error) {
	text, err := json.Marshal(command)
	if err != nil {
		return outcome{}, err
	}
	switch answer, err := m.ask("%s", text); {
	case err != nil:
		return outcome{}, err
	case answer == "done":
		return outcome{}, nil
	case slices.Contains([]string{"EBUSY", "EHOSTUNREACH", "EREMOTEIO", "ETIMEDOUT", "EROFS"}, answer):
		return outcome{answer: refused}, nil
	case answer == "EIO":
		return outcome{answer: unknown}, nil
	default:
		return outcome{}, fmt.Errorf("%s through the mount: %s", text, answer)
	}
}

// The writers are held to what they say: an outcome that can't be told from
// another would let the checks pass.
func TestOutcomesOfWriters(t *testing.T) {
	unreachable := &store.Error{Op: "publishing", Subject: "x", Kind: store.Unavailable}
	lost := &store.Error{Op: "publishing", Subject: "x", Kind: store.Unavailable, Err: errors.New("the outcome is unknown, look")}
	for _, test := range []struct {
		version string
		err     error
		want    outcome
		wrong   bool
	}{
		{"1.0", nil, outcome{done, "1.0"}, false},
		{"", nil, outcome{}, true},
		{"", unreachable, outcome{answer: refused}, false},
		{"", lost, outcome{answer: unknown}, false},
		{"", store.Invalid, outcome{}, true},
		{"", errors.New("anything"), outcome{}, true},
	} {
		if got, err := outcomeOf(test.version, test.err); got != test.want || (err != nil) != test.wrong {
			t.Errorf("%q, %v: %+v, %v", test.version, test.err, got, err)
		}
	}
}
