package integration

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

// guarded is a serverset of a hundred endpoints that monitors serve.
type guarded struct {
	f           *fleet
	faces       []*monitor
	znode, name string
	all         []string // the endpoints, sorted
}

// newGuarded starts a monitor for each face.
func newGuarded(t *testing.T, hold time.Duration) *guarded {
	t.Helper()
	f := newFleet(t, gofakes3)
	g := &guarded{f: f, all: numberedEndpoints(1, 100)}
	g.znode, g.name = f.subscribeServerset("search", g.all...)
	g.faces = f.startFaces(monitorConfig{Args: []string{"--serverset-hold", hold.String()}})
	g.has(g.all)
	return g
}

// numberedEndpoints returns some endpoints, in order.
func numberedEndpoints(from, to int) []string {
	var endpoints []string
	for i := from; i <= to; i++ {
		endpoints = append(endpoints, fmt.Sprintf("h%03d.example:80", i))
	}
	return endpoints
}

// leave takes those members of a serverset away, all at once, of whose endpoints
// which says so.
func (z rawZK) leave(serverset string, which func(endpoint string) bool) {
	z.t.Helper()
	var requests []any
	for _, child := range z.children(serverset) {
		if _, endpoint, _ := strings.Cut(child, "-"); which(endpoint) {
			requests = append(requests, &zk.DeleteRequest{Path: z.chroot + serverset + "/" + child, Version: -1})
		}
	}
	if _, err := z.conn.Multi(requests...); err != nil {
		z.t.Fatal(err)
	}
}

// keep takes all members away but the first ones.
func (g *guarded) keep(n int) {
	g.f.t.Helper()
	g.f.zk.leave(g.znode, func(endpoint string) bool { return !slices.Contains(g.all[:n], endpoint) })
}

// join registers endpoints.
func (g *guarded) join(endpoints ...string) {
	g.f.t.Helper()
	for _, endpoint := range endpoints {
		g.f.zk.join(g.znode, endpoint)
	}
}

// has waits until each monitor serves these endpoints.
func (g *guarded) has(endpoints []string) {
	g.f.t.Helper()
	for _, m := range g.faces {
		m.awaitServerset(g.name, endpoints...)
	}
}

// is waits until the serverset has a state, by each monitor.
func (g *guarded) is(state string) {
	g.f.t.Helper()
	for _, m := range g.faces {
		m.awaitState(g.name, state, ``)
	}
}

// accept has each monitor serve the list that it holds back.
func (g *guarded) accept() {
	g.f.t.Helper()
	for _, m := range g.faces {
		g.f.run("serverset", "accept", g.name, "--admin-addr", m.adminAddr)
	}
}

// shown is what `kingpin serverset show --output json` prints.
type shown struct {
	Name   string `json:"name"`
	ZKPath string `json:"zk_path"`
	Exists bool   `json:"exists"`
	Here   *struct {
		State string `json:"state"`
		Held  *struct {
			Endpoints []string   `json:"endpoints"`
			Since     time.Time  `json:"since"`
			Reason    string     `json:"reason"`
			ReleaseAt *time.Time `json:"release_at"`
		} `json:"held"`
	} `json:"here"`
	Members []struct {
		Endpoint     string    `json:"endpoint"`
		RegisteredAt time.Time `json:"registered_at"`
		Session      string    `json:"session"`
		Standing     string    `json:"standing"`
	} `json:"members"`
}

func (m *monitor) show(name string) (s shown) {
	m.t.Helper()
	m.f.runJSON(&s, "serverset", "show", name, "--admin-addr", m.adminAddr)
	return s
}

// standings counts the members by how they stand.
func (s *shown) standings() map[string]int {
	n := make(map[string]int)
	for _, member := range s.Members {
		n[member.Standing]++
	}
	return n
}

// mustPrint checks that what a command prints matches.
func (m *monitor) mustPrint(patterns []string, args ...string) {
	m.t.Helper()
	output := m.f.run(append(args, "--admin-addr", m.adminAddr)...)
	for _, pattern := range patterns {
		if !regexp.MustCompile(`(?m)` + pattern).MatchString(output) {
			m.t.Errorf("kingpin %q prints nothing like %q:\n%s", args, pattern, output)
		}
	}
}

// mustTellHeld checks that everybody who asks is told of a held list.
func (g *guarded) mustTellHeld(m *monitor) {
	t := m.t
	t.Helper()
	wantJSON(t, m.get("/admin/rejected_serversets"), `["`+g.znode+`"]`)
	if code, body := m.request(http.MethodGet, "/admin/rejected_serversets/healthcheck"); code != http.StatusInternalServerError {
		t.Errorf("the health check of rejected serversets answers %d, %q", code, body)
	}
	wantJSON(t, m.get("/admin/healthcheck"), `{"status": 200}`) // that of the monitor is another matter
	metrics := m.metrics()
	if held, total := metrics[`kingpin_files{state="held",type="serverset"}`], metrics[`kingpin_held_serversets_total`]; held != 1 || total != 1 {
		t.Errorf("the metrics tell of %v that are held, and %v that were", held, total)
	}
	m.awaitLine(0, `level=WARN msg="suspicious serverset held back.*kingpin serverset accept `+g.name+`".* served=100 offered=40 reason="40 of 100 endpoints are left`)
	m.mustPrint([]string{`^serversets +1, 1 held in `, `^` + g.name + ` +held +100 endpoints .* 40 endpoints held back since .* 40 of 100 endpoints are left, a smaller part than 0\.5`}, "status")
	m.mustPrint([]string{`^` + g.name + ` +search +prod +40 +held, 100 endpoints$`}, "serverset", "list")
	m.mustPrint([]string{
		`^members +40; 60 gone, still served$`,
		`^here +held, 100 endpoints: held back: 40 of 100 endpoints are left`,
		`^held back +40 endpoints, since .*; served at .* if it stands unchanged$`,
		`^ +to serve it now: kingpin serverset accept ` + g.name + `$`,
		`^` + g.all[0] + ` +[0-9hms]+ ago +0x[0-9a-f]+ +served$`,
		`^` + g.all[99] + ` +- +- +gone, still served$`,
	}, "serverset", "show", g.name)
	if names := m.f.run("__complete", "serverset", "accept", "--admin-addr", m.adminAddr, "disc"); !strings.HasPrefix(names, g.name+"\n:4") {
		t.Errorf("completion of accept offers %q", names)
	}
	if m.mode != "fuse" {
		return
	}
	path := m.serverset(g.name)
	if state, err := xattr(path, "user.kingpin.state"); state != "held" {
		t.Errorf("user.kingpin.state is %q (%v)", state, err)
	}
	if why, err := xattr(path, "user.kingpin.error"); !strings.Contains(why, "40 of 100 endpoints are left") {
		t.Errorf("user.kingpin.error is %q (%v)", why, err)
	}
}

// mustTellNothing checks that nobody is told of a held list any more.
func (g *guarded) mustTellNothing(m *monitor) {
	t := m.t
	t.Helper()
	wantJSON(t, m.get("/admin/rejected_serversets"), `[]`)
	wantJSON(t, m.get("/admin/rejected_serversets/healthcheck"), `{"status": 200}`)
	if held := m.metrics()[`kingpin_files{state="held",type="serverset"}`]; held != 0 {
		t.Errorf("the metrics tell of %v that are held", held)
	}
	s := m.show(g.name)
	if n := s.standings(); s.Here == nil || s.Here.State != "fresh" || s.Here.Held != nil || len(n) > 1 || n["served"] != len(s.Members) {
		t.Errorf("it is shown as %+v", s)
	}
	if m.mode != "fuse" {
		return
	}
	if state, err := xattr(m.serverset(g.name), "user.kingpin.state"); state != "fresh" {
		t.Errorf("user.kingpin.state is %q (%v)", state, err)
	}
}

// Of a hundred endpoints sixty vanish at once: what was served stays, to the last
// bit, everybody who asks is told, also after a restart, and the list goes out
// when enough of them are back.
func TestHeldServersetIsVisibleAndRecovers(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, time.Hour)
	before := make([]identity, len(g.faces))
	for i, m := range g.faces {
		st := mustStat(t, m.serverset(g.name))
		before[i] = identity{st.Ino, st.Mtim}
	}
	g.keep(40)
	g.is("held")
	g.has(g.all)
	for i, m := range g.faces {
		g.mustTellHeld(m)
		if st := mustStat(t, m.serverset(g.name)); before[i] != (identity{st.Ino, st.Mtim}) {
			t.Errorf("%s: the file is another one", m.mode)
		}
	}

	// One that joins while the list is held back is held back with it.
	newcomer := "h999.example:80"
	g.join(newcomer)
	for _, m := range g.faces {
		await(t, "the newcomer to be seen", func() error {
			s := m.show(g.name)
			if n := s.standings(); n["served"] != 40 || n["held back"] != 1 || n["gone, still served"] != 60 {
				return fmt.Errorf("the members stand as %v", n)
			}
			return nil
		})
		s := m.show(g.name)
		if held := s.Here.Held; len(held.Endpoints) != 41 || held.ReleaseAt == nil || held.ReleaseAt.Sub(held.Since) != time.Hour || held.Reason == "" {
			t.Errorf("held is %+v", held)
		}
		last := s.Members[len(s.Members)-1]
		if last.Endpoint != newcomer || time.Since(last.RegisteredAt).Abs() > time.Hour || !regexp.MustCompile(`^0x[0-9a-f]+$`).MatchString(last.Session) {
			t.Errorf("the newcomer is shown as %+v", last)
		}
	}

	for i, m := range g.faces {
		m.terminate()
		g.faces[i] = g.f.launchFace(m.mode, monitorConfig{Dirs: m.dirs, Args: []string{"--serverset-hold", time.Hour.String()}})
		g.faces[i].awaitReady()
	}
	g.is("held")
	g.has(g.all)

	// With the newcomer, 50 of 100.
	g.join(g.all[40:49]...)
	g.has(append(slices.Clone(g.all[:49]), newcomer))
	g.is("fresh")
	for _, m := range g.faces {
		g.mustTellNothing(m)
		m.awaitLine(0, `msg="held serverset released".* endpoints=50`)
	}
}

// A list that somebody has looked at goes out, and an empty one then only.
func TestHeldServersetIsAccepted(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, time.Hour)
	for _, m := range g.faces {
		wantRefusal(t, g.f.try("", "serverset", "accept", g.name, "--admin-addr", m.adminAddr), 3, "nothing is held back")
		wantRefusal(t, g.f.try("", "serverset", "accept", "discovery.none.prod", "--admin-addr", m.adminAddr), 3, "doesn't serve")
	}
	g.keep(40)
	g.is("held")
	g.accept()
	g.has(g.all[:40])
	g.is("fresh")

	g.keep(0)
	g.is("held")
	g.has(g.all[:40])
	for _, m := range g.faces {
		if s := m.show(g.name); s.Here.Held == nil || len(s.Here.Held.Endpoints) != 0 || s.Here.Held.ReleaseAt != nil || s.standings()["gone, still served"] != 40 {
			t.Errorf("it is shown as %+v", s)
		}
		m.mustPrint([]string{`^members +0; 40 gone, still served$`, `^held back +0 endpoints, since .*, until it recovers or is accepted$`}, "serverset", "show", g.name)
	}
	g.accept()
	for _, m := range g.faces {
		await(t, "an empty file", func() error { return has(m.serverset(g.name), "") })
	}
	g.is("fresh")
	g.join(g.all[:1]...)
	g.has(g.all[:1])
	for _, m := range g.faces {
		g.mustTellNothing(m)
	}
}

// A list that stands unchanged for long enough goes out, unless it is empty.
func TestHeldServersetIsReleasedByTime(t *testing.T) {
	t.Parallel()
	const hold = 1500 * time.Millisecond
	g := newGuarded(t, hold)
	emptied, name := g.f.subscribeServerset("emptied", "10.0.0.1:80")
	for _, m := range g.faces {
		m.awaitServerset(name, "10.0.0.1:80")
	}
	g.f.zk.leave(emptied, func(string) bool { return true })
	for _, m := range g.faces {
		m.awaitState(name, "held", `all 1 endpoints are gone`)
	}
	began := time.Now()
	g.keep(40)
	g.has(g.all[:40])
	if took := time.Since(began); took < hold {
		t.Errorf("the list went out after %v, before the %v were over", took, hold)
	}
	g.is("fresh")
	for _, m := range g.faces {
		m.awaitLine(0, `msg="suspicious serverset held back.* serverset=`+g.name+` served=100 offered=40`)
		m.awaitLine(0, `msg="held serverset released" serverset=`+g.name+` endpoints=40 reason="40 of 100 endpoints are left, a smaller part than 0\.5, but the list has stood unchanged for 1\.5s"`)
		// The other one has been held for longer.
		m.awaitState(name, "held", ``)
		m.awaitServerset(name, "10.0.0.1:80")
	}
}
