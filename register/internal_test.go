package register

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/serverset"
)

func TestMemberName(t *testing.T) {
	const machine, host, parent, endpoint = "0123", "box", "/discovery/a/b", "10.0.0.1:80"
	name := nameFor(machine, host, parent, endpoint)
	if name != nameFor(machine, host, parent, endpoint) {
		t.Error("it isn't always the same")
	}
	if got, err := serverset.ParseMember(name); err != nil || len(got) != 1 || got[0] != endpoint {
		t.Errorf("%q is a member with %q, %v", name, got, err)
	}
	seen := map[string]bool{name[:32]: true}
	for _, other := range []string{
		nameFor("4567", host, parent, endpoint), nameFor(machine, "bow", parent, endpoint),
		nameFor(machine, host, "/discovery/a/c", endpoint), nameFor(machine, host, parent, "10.0.0.1:81"),
	} {
		if seen[other[:32]] {
			t.Errorf("%q comes again", other)
		}
		seen[other[:32]] = true
	}
	if strings.Contains(name, machine) {
		t.Errorf("%q holds the machine's id", name)
	}
}

func TestClaim(t *testing.T) {
	name := claimName([]string{"b:1", "a:1"}, "", "/discovery/a/b", t.Name())
	if other := claimName([]string{"a:1", "b:1"}, "", "/discovery/a/b", t.Name()); other != name {
		t.Error("the order of the servers counts")
	}
	first, err := takeClaim(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := takeClaim(t.Context(), name); err == nil || !strings.Contains(err.Error(), "the process ") {
		t.Errorf("a second claim: %v", err)
	}
	first.release()
	second, err := takeClaim(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	second.release()
}

func TestOwnAddress(t *testing.T) {
	for _, test := range []struct {
		local   string
		servers []string
		want    string
	}{
		{"192.0.2.7", []string{"203.0.113.1:2181"}, "192.0.2.7"},
		{"::ffff:192.0.2.7", []string{"203.0.113.1:2181"}, "192.0.2.7"},
		{"2001:db8::7", []string{"[2001:db8::1]:2181"}, "2001:db8::7"},
		{"127.0.0.1", []string{"127.0.0.1:2181", "127.0.1.1:2181"}, "127.0.0.1"},
		{"::1", []string{"localhost:2181"}, "::1"},
	} {
		if got, err := ownAddress(t.Context(), test.local, test.servers); err != nil || got != test.want {
			t.Errorf("from %s to %q: %q, %v, want %q", test.local, test.servers, got, err, test.want)
		}
	}
	// One of the servers is on this machine, the others aren't: the way to them
	// counts, if there is one.
	got, err := ownAddress(t.Context(), "127.0.0.1", []string{"127.0.0.1:2181", "203.0.113.1:2181"})
	if err == nil {
		address, parseErr := netip.ParseAddr(got)
		if parseErr != nil || address.IsLoopback() {
			t.Errorf("the way to another server is %q", got)
		}
	} else if !strings.Contains(err.Error(), "loopback") {
		t.Error(err)
	}
}
