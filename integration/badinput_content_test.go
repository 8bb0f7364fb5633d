package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// TestBadPointers sets pointers to what is no version: the last good content
// stays, and the status names the znode, what it holds and how to mend it.
func TestBadPointers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	c := newCompany(f, monitorConfig{})
	name := f.subscribe("pointer")[0]
	znode := pointers + "pointer"
	n := 1
	f.publish("pointer", n)
	for _, m := range c.faces {
		m.awaitNumbered(name, n)
		watchReads(m, name)
	}
	for _, bad := range []string{"not a number", "1.2.3", "-1", "1e9", "NaN", "../../secrets", strings.Repeat("9", 4096), "\x00\xff"} {
		f.zk.set(znode, []byte(bad))
		c.awaitNow(name+": ", znode, "version", "kingpin config put "+name)
		for _, m := range c.faces {
			m.mustServe(name, n)
			m.awaitState(name, "stale", `version`)
		}
		n++
		f.publish("pointer", n)
		for _, m := range c.faces {
			m.awaitSoon(name, n)
		}
	}
	// Emptied, as if it had never been written.
	f.zk.set(znode, nil)
	c.awaitNow(name+": ", znode, "nothing has been written", "kingpin config put "+name)
	f.put(name, numbered(n+1, contentSize))
	for _, m := range c.faces {
		m.awaitSoon(name, n+1)
	}
	// The pointer of a metaconfig: what it asked for goes on being served.
	metaconfig := metaconfigRoot + "/" + name
	f.zk.set(metaconfig, []byte("soon"))
	c.awaitNow(name+": ", metaconfig, "soon", "kingpin metaconfig set "+name)
	f.publish("pointer", 1_000_000) // later than what the command wrote
	f.zk.set(metaconfig, []byte("1600000000.5"))
	c.awaitNoComplaint()
	c.mustGoOn()
}

// TestZnodesThatAreNotThereYet subscribes to configs and serversets whose znodes
// don't exist: they are named, with the command that creates them, and served
// once they are there.
func TestZnodesThatAreNotThereYet(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	c := newCompany(f, monitorConfig{})
	name := f.subscribe("missing")[0]
	set := "discovery.missing.prod"
	f.publishMetaconfigRaw(set, version(1), serversetObject("/discovery/missing/prod"))
	f.zk.addMember(boxDep, set)
	f.zk.addMember(boxDep, "config.manageddata.fault.nowhere") // a metaconfig that isn't there
	c.awaitNow(name+": ", pointers+"missing", "kingpin metaconfig create-config fault missing")
	c.awaitNow(set+": ", "/discovery/missing/prod", "kingpin metaconfig create-serverset missing prod")
	c.awaitNow("config.manageddata.fault.nowhere: ", "kingpin metaconfig create-config fault nowhere", "kingpin dependency remove")
	c.mustGoOn()

	f.zk.create(pointers+"missing", nil)
	c.awaitNow(name+": ", "nothing has been written", "kingpin config put "+name)
	f.publish("missing", 1)
	f.zk.create("/discovery/missing/prod", nil)
	f.zk.join("/discovery/missing/prod", "10.0.0.1:80")
	f.run("metaconfig", "create-config", "fault", "nowhere")
	f.publish("nowhere", 1)
	for _, m := range c.faces {
		m.awaitSoon(name, 1)
		m.awaitServerset(set, "10.0.0.1:80")
		m.awaitSoon("config.manageddata.fault.nowhere", 1)
	}
	c.awaitNoComplaint()
}

// TestBadObjects publishes versions whose objects can't be served: the last good
// content stays, the status names the object and how to mend it, and a good
// version is served at once.
func TestBadObjects(t *testing.T) {
	t.Parallel()
	server, described := ownS3(t)
	f := newFleetOn(t, devtest.SharedZooKeeper(t), described)
	c := newCompany(f, monitorConfig{})
	name := f.subscribe("object")[0]
	znode := pointers + "object"
	f.publish("object", 1)
	for _, m := range c.faces {
		m.awaitNumbered(name, 1)
		watchReads(m, name)
	}
	n := 1
	key := func() string { return contentKey(znode, version(n)) }
	huge := strings.Repeat("kingpin\n", 20<<20/8)
	for _, bad := range []struct {
		name  string
		begin func()
		told  []string
	}{
		{"missing", func() {}, []string{"not found", "may have it in a moment", "kingpin config put " + name}},
		{"empty", func() { f.storeRaw(znode, version(n), "") }, []string{"empty", "kingpin config put " + name}},
		{"20 MiB", func() { f.storeRaw(znode, version(n), huge) },
			[]string{strconv.Itoa(len(huge)), strconv.Itoa(16 << 20), "smaller", "kingpin config put " + name, "--max-content"}},
		{"changing while it is read", func() {
			f.storeRaw(znode, version(n), numbered(n, contentSize))
			server.SetFault(mixing(key(), n))
		}, []string{"changed when it was read"}},
		{"shorter than it says", func() {
			f.storeRaw(znode, version(n), numbered(n, contentSize))
			server.SetFault(forReads(devcluster.Fault{Cut: true, BodyBytes: 1000}))
		}, []string{fmt.Sprintf("after 1000 bytes of %d", len(numbered(n, contentSize)))}},
	} {
		t.Log(bad.name)
		before := n
		n++
		bad.begin()
		f.zk.set(znode, []byte(version(n)))
		c.awaitNow(append(bad.told, name+": ", key())...)
		for _, m := range c.faces {
			m.mustServe(name, before)
		}
		server.SetFault(nil)
		n++
		f.publish("object", n)
		for _, m := range c.faces {
			m.awaitSoon(name, n)
		}
		c.awaitNoComplaint()
		c.mustGoOn()
	}
	// An object that is mended in its place, by whoever broke the rule that
	// objects are never changed.
	n++
	f.publishRaw(znode, version(n), "")
	c.awaitNow(name+": ", "empty")
	f.s3.put(key(), numbered(n, contentSize), "text/plain")
	for _, m := range c.faces {
		m.post("/admin/watch" + znode)
		m.awaitSoon(name, n)
	}
	c.awaitNoComplaint()
}

// mixing answers for one object with a content that is made of two, each time
// of others, as a server does that serves a file while it is overwritten.
func mixing(key string, n int) func(*http.Request) *devcluster.Fault {
	var reads atomic.Int64
	return func(r *http.Request) *devcluster.Fault {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, key) {
			return nil
		}
		return &devcluster.Fault{Handle: func(w http.ResponseWriter, r *http.Request, server http.Handler) {
			answer := &replacing{ResponseWriter: w}
			server.ServeHTTP(answer, r)
			content := []byte(numbered(n, contentSize))
			other := []byte(numbered(n+int(reads.Add(1)), contentSize))
			copy(content[len(content)/2:], other[len(other)/2:])
			if _, err := bytes.NewReader(content).WriteTo(w); err != nil {
				return // who doesn't read the answer doesn't want it
			}
		}}
	}
}

// replacing passes on the headers of an answer, and drops its body.
type replacing struct{ http.ResponseWriter }

// Write implements io.Writer.
func (*replacing) Write(p []byte) (int, error) { return len(p), nil }

// TestBadDeciders publishes a map of deciders that isn't one: the config is
// served as it is, the deciders that can be read are, and the others are named.
func TestBadDeciders(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	c := newCompany(f, monitorConfig{})
	const znode, name = "/config/manageddata/admin/decider", "config.manageddata.admin.decider"
	f.publishRaw(znode, version(1), `{"fine": 10, "other": 20}`)
	f.publishMetaconfigRaw(name, version(1), configObject(znode))
	f.zk.addMember(boxDep, name)
	c.awaitContent("decider/fine", "10\n")
	for i, bad := range []struct {
		text string
		told []string
	}{
		{`{"fine": 10,`, []string{"deciders", "isn't understood", "kingpin config put " + name}},
		{`[1, 2]`, []string{"deciders", "isn't understood", "kingpin config put " + name}},
		{`"a string"`, []string{"deciders", "isn't understood", "kingpin config put " + name}},
	} {
		f.publishRaw(znode, version(2+i), bad.text)
		c.awaitContent(name, bad.text)
		c.awaitTold(bad.told...)
		c.awaitContent("decider/fine", "10\n")
		c.awaitContent("decider/other", "20\n")
	}
	f.publishRaw(znode, version(10),
		`{"fine": 11, "other": 101, "negative": -1, "half": 0.5, "text": "50", "nothing": null, "UPPER": 5, "a/b": 5, "..": 5, "": 5, "yes": true, "last": 100}`)
	c.awaitContent("decider/fine", "11\n")
	c.awaitContent("decider/last", "100\n")
	for _, left := range []string{`"other"`, "101", `"negative"`, "-1", `"half"`, "0.5", `"nothing"`, "null", `"UPPER"`, "lower case", `"a/b"`, `".."`} {
		c.awaitNow(name, "left out", left, "integer from 0 to 100", "kingpin config put "+name)
	}
	// What was good once keeps its last good value, also across a restart.
	mustHold := func() {
		t.Helper()
		c.awaitContent("decider/other", "20\n")
		for _, m := range c.faces {
			if names := listDir(t, m.config("decider")); strings.Join(names, " ") != "fine last other" {
				t.Errorf("the deciders of the %s face are %q", m.mode, names)
			}
		}
	}
	mustHold()
	c.restart()
	mustHold()
	f.publishRaw(znode, version(11), "no JSON")
	c.awaitNow(name, "isn't understood", "JSON")
	c.restart()
	mustHold()
	c.awaitNow(name, "isn't understood")
	f.publishRaw(znode, version(12), `{"fine": 13, "other": 30}`)
	c.awaitContent("decider/fine", "13\n")
	c.awaitContent("decider/other", "30\n")
	c.awaitNoComplaint()
	c.mustGoOn()
}
