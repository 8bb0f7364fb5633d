package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

// TestBadMembers joins serversets with what names no endpoint: each is named,
// once, and left out, and what is good beside it is served. Endpoints that ran
// together are split.
func TestBadMembers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	c := newCompany(f, monitorConfig{})
	znode, name := f.subscribeServerset("search", "10.0.0.1:8000")
	await := func(endpoints ...string) {
		t.Helper()
		for _, m := range c.faces {
			m.awaitServerset(name, endpoints...)
		}
	}
	await("10.0.0.1:8000")
	var joined []string
	for _, bad := range []struct {
		member string // what follows the UUID
		told   []string
	}{
		{"10.0.0.2", []string{`"10.0.0.2"`, "no port"}},
		{"10.0.0.2:", []string{`"10.0.0.2:"`, "port"}},
		{"10.0.0.2:0", []string{"10.0.0.2:0", "not a number from 1 to 65535"}},
		{"10.0.0.2:65536", []string{"10.0.0.2:65536", "not a number from 1 to 65535"}},
		{"10.0.0.2:port", []string{"10.0.0.2:port", "not a number from 1 to 65535"}},
		{"10.0.0.256:80", []string{"10.0.0.256:80", "neither an IPv4 address nor a name"}},
		{":80", []string{`":80"`, "no host"}},
		{"a b:80", []string{"a b", "not allowed"}},
		{"$(reboot):80", []string{"$(reboot)", "not allowed"}},
		{"10.0.0.2:8010.0.0.3:8080", []string{"10.0.0.2:8010.0.0.3:8080", "can't be split"}},
		{"", []string{"no port"}},
	} {
		member := hexUUID() + "-" + bad.member
		joined = append(joined, f.zk.createEphemeral(znode+"/"+member, nil, 0))
		c.awaitTold(append(bad.told, name, member, "whoever registers it must mend it")...)
	}
	garbage := "no-uuid-at-all"
	for _, m := range []string{"nohyphen", garbage} {
		joined = append(joined, f.zk.createEphemeral(znode+"/"+m, []byte("10.0.0.9:9999\n10.0.0.9:9998"), 0))
		c.awaitTold(name, `"`+m+`"`, "whoever registers it must mend it")
	}
	// ZooKeeper itself keeps newlines out of names; the data is nobody's business.
	_, err := f.zk.conn.Create(f.zk.chroot+znode+"/"+hexUUID()+"-10.0.0.2:80\n10.0.0.3:80", nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	if err == nil {
		t.Error("ZooKeeper takes a member with a newline: that must be tested, too")
	}
	joined = append(joined, f.zk.createEphemeral(znode+"/"+hexUUID()+"-10.0.0.4:8000", []byte("10.0.0.5:8000\nevil:1\n"), 0))
	await("10.0.0.1:8000", "10.0.0.4:8000")
	joined = append(joined, f.zk.createEphemeral(znode+"/"+hexUUID()+"-10.0.0.6:900010.0.0.7:9006", nil, 0))
	await("10.0.0.1:8000", "10.0.0.4:8000", "10.0.0.6:9000", "10.0.0.7:9006")
	c.mustGoOn()
	for _, m := range c.faces {
		if n := m.metrics()["kingpin_invalid_members_total"]; n < 13 {
			t.Errorf("%v members are counted as invalid, want 13 or more", n)
		}
		if n := strings.Count(m.stderr.String(), "member="+garbage); n != 1 {
			t.Errorf("the log tells %d times of one bad member, want once", n)
		}
	}
	for _, member := range joined {
		f.zk.remove(member)
	}
	await("10.0.0.1:8000")
	for _, m := range c.faces {
		m.awaitState(name, "fresh", `^$`)
	}
	c.mustGoOn()
}

// TestSuspiciousServersets takes away most members of a serverset, and then all:
// what was served stays, the status says why and how to let the new list out,
// and it goes out when somebody does, or by itself when members come back.
func TestSuspiciousServersets(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	c := newCompany(f, monitorConfig{Args: []string{"--serverset-hold", time.Hour.String()}})
	all := []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80", "10.0.0.6:80"}
	znode, name := f.subscribeServerset("search", all...)
	eachHas := func(endpoints ...string) {
		t.Helper()
		for _, m := range c.faces {
			m.awaitServerset(name, endpoints...)
		}
	}
	eachHas(all...)
	leave := func(n int) { // all at once
		t.Helper()
		f.zk.leave(znode, func(string) bool { n--; return n >= 0 })
	}
	leave(5)
	for _, m := range c.faces {
		m.awaitState(name, "held", ``)
	}
	c.awaitTold(name, "held back", "kingpin serverset accept "+name)
	eachHas(all...)
	c.mustGoOn()
	rest := []string{}
	for _, child := range f.zk.children(znode) {
		_, endpoint, _ := strings.Cut(child, "-")
		rest = append(rest, endpoint)
	}
	for _, m := range c.faces {
		f.run("serverset", "accept", name, "--admin-addr", m.adminAddr)
	}
	eachHas(rest...)
	leave(len(rest))
	for _, m := range c.faces {
		m.awaitState(name, "held", ``)
	}
	f.zk.remove(znode) // as suspicious as an empty one
	c.awaitNow(name+": ", znode, "kingpin metaconfig create-serverset search prod")
	eachHas(rest...)
	f.zk.create(znode, nil)
	f.zk.join(znode, "10.0.0.9:80")
	eachHas("10.0.0.9:80")
	c.awaitNoComplaint()
}
