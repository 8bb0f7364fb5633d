package main

import (
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/admin"
	"github.com/kingpinfs/kingpin/store"
)

// registered is a member as it is read from the fleet, registered some time
// before noon.
func registered(before time.Duration, znode string, session int64) []member {
	return membersOf(znode, store.Stat{Ctime: noon.Add(-before), EphemeralOwner: session})
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.Local)

// A list is compared with one that is held back, and with one that is served as
// it is.
func TestShowServersetComparesWithTheMonitor(t *testing.T) {
	members := registered(time.Minute, "a-10.0.0.1:80", 1)
	members = append(members, registered(3*time.Hour, "b-10.0.0.2:80", -1)...)
	members = append(members, registered(time.Second, "c-10.0.0.3:80", 0)...)
	members = append(members, registered(time.Second, "nonsense", 2)...)
	release := noon.Add(4 * time.Minute)
	held := &admin.Held{Endpoints: []string{"10.0.0.1:80", "10.0.0.2:80"}, Since: noon.Add(-time.Minute), ReleaseAt: &release}
	tests := []struct {
		name  string
		shown shownServerset
		want  string
	}{
		{"held", shownServerset{
			Name: "discovery.search.prod", ZKPath: "/discovery/search/prod", Exists: true,
			Here: &admin.FileStatus{State: "held", Error: "held back: reason", Held: held, Endpoints: []string{"10.0.0.1:80", "10.0.0.8:80", "10.0.0.9:80"}},
		}, `
serverset   discovery.search.prod
znode       /discovery/search/prod
members     4; 1 held back; 2 gone, still served; 1 not served yet; 1 no endpoint
here        held, 3 endpoints: held back: reason
held back   2 endpoints, since 2026-01-02 11:59:00; served at 2026-01-02 12:04:00 if it stands unchanged
            to serve it now: kingpin serverset accept discovery.search.prod

ENDPOINT     REGISTERED  SESSION             HERE
nonsense     1s ago      0x2                 no endpoint
10.0.0.1:80  1m0s ago    0x1                 served
10.0.0.2:80  3h0m0s ago  0xffffffffffffffff  held back
10.0.0.3:80  1s ago      none                not served yet
10.0.0.8:80  -           -                   gone, still served
10.0.0.9:80  -           -                   gone, still served
`},
		{"not served", shownServerset{Name: "discovery.search.prod", ZKPath: "/discovery/search/prod", Exists: true}, `
serverset   discovery.search.prod
znode       /discovery/search/prod
members     4
here        not served by this machine

ENDPOINT     REGISTERED  SESSION             HERE
nonsense     1s ago      0x2                 -
10.0.0.1:80  1m0s ago    0x1                 -
10.0.0.2:80  3h0m0s ago  0xffffffffffffffff  -
10.0.0.3:80  1s ago      none                -
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.shown.compare(members)
			checkShown(t, &test.shown, test.want)
		})
	}
}

// The znode is gone, and what was served last stays.
func TestShowServersetWithoutZnode(t *testing.T) {
	shown := &shownServerset{
		Name: "discovery.search.prod", ZKPath: "/discovery/search/prod",
		Here: &admin.FileStatus{State: "held", Error: "no such znode", Endpoints: []string{"10.0.0.1:80"}, Held: &admin.Held{Since: noon}},
	}
	shown.compare(nil)
	checkShown(t, shown, `
serverset   discovery.search.prod
znode       /discovery/search/prod (doesn't exist)
members     0; 1 gone, still served
here        held, 1 endpoint: no such znode
held back   0 endpoints, since 2026-01-02 12:00:00, until it recovers or is accepted
            to serve it now: kingpin serverset accept discovery.search.prod

ENDPOINT     REGISTERED  SESSION  HERE
10.0.0.1:80  -           -        gone, still served
`)
}

func checkShown(t *testing.T, shown *shownServerset, want string) {
	t.Helper()
	var out strings.Builder
	if err := printServerset(&out, shown, noon); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != strings.TrimPrefix(want, "\n") {
		t.Errorf("it prints\n%s\nwant\n%s", got, want)
	}
}

// What the machine serves is listed beside what the fleet has, under the names of
// its files.
func TestListServersetsMerges(t *testing.T) {
	fleet := []discovered{
		{"discovery.feed.prod", "feed", "prod", "/discovery/feed/prod"},
		{"discovery.search.prod", "search", "prod", "/discovery/search/prod"},
	}
	local := here{files: []admin.FileStatus{
		{Name: "discovery.search.prod", ZKPath: "/discovery/search/prod", State: "held", Endpoints: []string{"10.0.0.1:80"}},
		{Name: "search.alias", ZKPath: "/discovery/search/prod", State: "fresh", Endpoints: []string{"10.0.0.1:80", "10.0.0.2:80"}},
		{Name: "elsewhere", ZKPath: "/services/other", State: "absent"},
	}}
	var got []string
	for _, row := range merge(fleet, &local) {
		got = append(got, strings.Join([]string{row.Name, row.Service, row.Environment, row.here()}, "|"))
	}
	want := "discovery.search.prod|search|prod|held, 1 endpoint\n" +
		"search.alias|search|prod|fresh, 2 endpoints\n" +
		"elsewhere|||absent\n" +
		"discovery.feed.prod|feed|prod|"
	if strings.Join(got, "\n") != want {
		t.Errorf("listed are\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
