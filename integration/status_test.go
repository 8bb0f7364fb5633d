package integration

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestReadyLineAndStatus(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		good := f.newConfig("spam", "grey_list", "web.dep")
		unwritten := f.newConfig("spam", "white_list", "web.dep")
		broken := f.newConfig("spam", "broken", "web.dep")
		set := f.newServerset("search", "prod", "web.dep")
		version := f.put(good, "one")
		f.zk.set("/config/manageddata/spam/broken", []byte("1448012345.67")) // an object that isn't there
		f.zk.join("/discovery/search/prod", "10.0.0.1:80")
		f.zk.join("/discovery/search/prod", "10.0.0.2:80")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})

		wanted := regexp.MustCompile(`^ready mode=` + mode + ` configs=1 serversets=1( |$)`)
		if !wanted.MatchString(m.ready) {
			t.Errorf("the ready line is %q", m.ready)
		}
		s := m.status()
		if s.Mode != mode || !s.Ready || !s.Healthy || s.HolderPID != m.pid() || s.WorkerPID == 0 || s.WorkerPID == s.HolderPID || s.Version != binaryVersion {
			t.Errorf("the status is %+v", s)
		}
		if !s.ZooKeeper.Connected || !regexp.MustCompile(`^(0x)?[0-9a-f]+$`).MatchString(s.ZooKeeper.Session) {
			t.Errorf("of ZooKeeper it says %+v", s.ZooKeeper)
		}
		states := map[string]fileStatus{}
		for _, file := range append(s.Configs, s.Serversets...) {
			states[file.Name] = file
		}
		if file := states[good]; file.State != "fresh" || file.Version != version || file.SyncedAt == nil || file.Error != "" {
			t.Errorf("of %s it says %+v", good, file)
		}
		if file := states[set]; file.State != "fresh" || strings.Join(file.Endpoints, " ") != "10.0.0.1:80 10.0.0.2:80" || file.SyncedAt == nil {
			t.Errorf("of %s it says %+v", set, file)
		}
		if file := states[unwritten]; file.State != "absent" || !strings.Contains(file.Error, "kingpin config put "+unwritten) {
			t.Errorf("of %s it says %+v", unwritten, file)
		}
		if file := states[broken]; file.State != "absent" || !strings.Contains(file.Error, "data/config/manageddata/spam/broken_1448012345/67") {
			t.Errorf("of %s it says %+v", broken, file)
		}

		table := f.run("status", "--admin-addr", m.adminAddr)
		for _, want := range []string{
			`(?m)^mode +` + mode, `(?m)^ready +yes$`, `(?m)^healthy +yes$`, `(?m)^zookeeper +connected`,
			fmt.Sprintf(`(?m)^monitor +version %s, pid %d, `, regexp.QuoteMeta(binaryVersion), s.HolderPID), fmt.Sprintf(`(?m)^worker +pid %d, `, s.WorkerPID),
			`(?m)^NAME +STATE +VERSION`, `(?m)^` + regexp.QuoteMeta(broken) + ` +absent`,
		} {
			if !regexp.MustCompile(want).MatchString(table) {
				t.Errorf("the table has nothing like %q:\n%s", want, table)
			}
		}
		if strings.Contains(table, good) {
			t.Errorf("the table shows what is fresh:\n%s", table)
		}
		if all := f.run("status", "--all", "--admin-addr", m.adminAddr); !strings.Contains(all, good) || !strings.Contains(all, set) {
			t.Errorf("with --all it doesn't show everything:\n%s", all)
		}

		m.terminate()
		wantRefusal(t, f.try("", "status", "--admin-addr", m.adminAddr), 4, "kingpin monitor")
	})
}

// By default the monitor says why it serves plain files where it can't mount.
func TestAutoModeFallsBackToPlainFiles(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.run("dependency", "create", "web.dep")
	name := f.newConfig("spam", "grey_list", "web.dep")
	f.put(name, "one")

	needFUSE(t)
	m := f.startMonitor(monitorConfig{Mode: "auto", Dependencies: []string{"web.dep"}})
	if s := m.status(); s.Mode != "fuse" {
		t.Errorf("as root the mode is %q: %s", s.Mode, s.ModeReason)
	}
	m.terminate()

	// Root without the right to mount.
	d := f.newDirs()
	m = f.startMonitor(monitorConfig{
		Mode: "auto", Dependencies: []string{"web.dep"}, Dirs: d,
		Wrap: []string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"},
	})
	if s := m.status(); s.Mode != "plain" || s.ModeReason == "" {
		t.Errorf("without the right to mount the mode is %q, because %q", s.Mode, s.ModeReason)
	}
	if !strings.HasPrefix(m.ready, "ready mode=plain configs=1 serversets=0") || !strings.Contains(m.ready, "reason=") {
		t.Errorf("the ready line is %q", m.ready)
	}
	m.awaitLine(0, `level=WARN.*plain files`)
	if err := has(m.config(name), "one"); err != nil {
		t.Error(err)
	}
	m.terminate()

	// Who demands FUSE gets it or an error.
	m = f.launchMonitor(monitorConfig{
		Mode: "fuse", Dependencies: []string{"web.dep"}, Dirs: d,
		Wrap: []string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"},
	})
	if code := m.wait(); code == 0 {
		t.Error("with --mode fuse it started without FUSE")
	}
	m.awaitLine(0, `mounting`)
}

// pointerDetails and serversetDetails are what scripts in the field read.
type pointerDetails struct {
	Version   *int32   `json:"version"`
	Notified  *float64 `json:"notification_timestamp"`
	Processed *float64 `json:"last_processed_timestamp"`
	Modified  *float64 `json:"modification_timestamp"`
	Result    *int     `json:"run_command_ret"`
}

type serversetDetails struct {
	Hashsum   *int     `json:"hashsum"`
	Endpoints *int     `json:"num_endpoints"`
	Notified  *float64 `json:"notification_timestamp"`
	Modified  *float64 `json:"modification_timestamp"`
}

func TestAdminEndpoints(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		f.run("dependency", "create", "base.dep")
		f.run("dependency", "add", "web.dep", "base.dep")
		name := f.newConfig("spam", "grey_list", "web.dep")
		missing := f.newConfig("spam", "missing", "web.dep")
		set := f.newServerset("search", "prod", "web.dep")
		f.put(name, "one")
		f.zk.set("/config/manageddata/spam/missing", []byte("1448012345.67"))
		f.zk.join("/discovery/search/prod", "10.0.0.1:80")
		f.zk.join("/discovery/search/prod", "10.0.0.2:80")
		before := float64(time.Now().UnixMicro()) / 1e6
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		f.put(name, "two")
		m.awaitConfig(name, "two")
		f.zk.join("/discovery/search/prod", "10.0.0.3:80")
		m.awaitServerset(set, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
		after := float64(time.Now().UnixMicro()) / 1e6

		if body := m.get("/admin/ping"); body != "Ping!\n" {
			t.Errorf("ping answers %q", body)
		}
		wantJSON(t, m.get("/admin/healthcheck"), `{"status": 200}`)
		wantJSON(t, m.get("/admin/watched_metaconfigs"), `["`+name+`", "`+missing+`", "`+set+`"]`)
		wantJSON(t, m.get("/admin/watched_dependencies"), `["base.dep", "web.dep"]`)
		wantJSON(t, m.get("/admin/rejected_serversets"), `[]`)
		wantJSON(t, m.get("/admin/rejected_serversets/healthcheck"), `{"status": 200}`)
		wantJSON(t, m.get("/config/config/manageddata/no/such"), `null`)
		wantJSON(t, m.get("/serverset/discovery/no/such"), `null`)

		moment := func(what string, at *float64) {
			t.Helper()
			if at == nil || *at < before || *at > after {
				t.Errorf("%s is %v, not between %f and %f", what, at, before, after)
			}
		}
		var pointer pointerDetails
		_, stat := f.zk.get("/config/manageddata/spam/grey_list")
		for _, path := range []string{"/config/config/manageddata/spam/grey_list", "/config//config/manageddata/spam/grey_list"} {
			m.getJSON(path, &pointer)
			if pointer.Version == nil || *pointer.Version != stat.Version || pointer.Result == nil || *pointer.Result != 0 {
				t.Errorf("GET %s tells version %v, result %v; the znode's version is %d", path, pointer.Version, pointer.Result, stat.Version)
			}
		}
		moment("notification_timestamp", pointer.Notified)
		moment("last_processed_timestamp", pointer.Processed)
		moment("modification_timestamp", pointer.Modified)

		var pointers map[string]pointerDetails
		m.getJSON("/config", &pointers)
		if p := pointers["/config/manageddata/spam/missing"]; len(pointers) != 2 || p.Result == nil || *p.Result != 101 {
			t.Errorf("GET /config answers %+v", pointers)
		}

		var sets map[string]serversetDetails
		m.getJSON("/serverset", &sets)
		s := sets["/discovery/search/prod"]
		if want := hashsum("10.0.0.1:80,10.0.0.2:80,10.0.0.3:80"); s.Hashsum == nil || *s.Hashsum != want || s.Endpoints == nil || *s.Endpoints != 3 {
			t.Errorf("GET /serverset tells hashsum %v, num_endpoints %v, not %d and 3", s.Hashsum, s.Endpoints, want)
		}
		moment("notification_timestamp", s.Notified)
		moment("modification_timestamp", s.Modified)

		var details struct {
			Start float64                    `json:"start_time"`
			Check *float64                   `json:"last_success_periodic_check"`
			Data  map[string]json.RawMessage `json:"data"`
		}
		m.getJSON("/admin/details", &details)
		moment("start_time", &details.Start)
		if details.Check == nil || len(details.Data) != 3 {
			t.Errorf("details are %+v", details)
		}

		// Only a POST changes anything.
		for _, path := range []string{"/admin/kill", "/admin/watch/discovery/search/prod"} {
			if code, _ := m.request(http.MethodGet, path); code != http.StatusMethodNotAllowed {
				t.Errorf("GET %s: %d", path, code)
			}
		}
		m.post("/admin/watch/discovery/search/prod")
		if code, _ := m.request(http.MethodPost, "/admin/watch/no/such"); code != http.StatusNotFound {
			t.Errorf("POST /admin/watch/no/such: %d", code)
		}

		metrics := m.metrics()
		for sample, want := range map[string]float64{
			`kingpin_ready`: 1, `kingpin_healthy`: 1, `kingpin_zookeeper_connected`: 1,
			`kingpin_mode{mode="` + mode + `"}`:                   1,
			`kingpin_build_info{version="` + binaryVersion + `"}`: 1,
			`kingpin_files{state="fresh",type="config"}`:          1,
			`kingpin_files{state="absent",type="config"}`:         1,
			`kingpin_files{state="fresh",type="serverset"}`:       1,
			`kingpin_worker_panics_total`:                         0,
		} {
			if got, ok := metrics[sample]; !ok || got != want {
				t.Errorf("%s is %v (%v), not %v", sample, got, ok, want)
			}
		}
	})
}

// wantJSON compares JSON by its meaning, an array regardless of its order.
func wantJSON(t testing.TB, got, want string) {
	t.Helper()
	if canonical(t, got) != canonical(t, want) {
		t.Errorf("got %s, not %s", strings.TrimSpace(got), want)
	}
}

func canonical(t testing.TB, text string) string {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Errorf("%q is no JSON: %v", text, err)
	}
	if all, ok := value.([]any); ok {
		set := map[string]bool{}
		for _, v := range all {
			set[canonicalValue(t, v)] = true
		}
		value = set
	}
	return canonicalValue(t, value)
}

func canonicalValue(t testing.TB, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// hashsum is the sum of the decimal digits of an MD5.
func hashsum(text string) int {
	sum := md5.Sum([]byte(text))
	total := 0
	for _, digit := range new(big.Int).SetBytes(sum[:]).String() {
		total += int(digit - '0')
	}
	return total
}

// Until the first load is done there is an answer, and it says so.
func TestHealthcheckWhileNothingIsLoaded(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	m := f.launchMonitor(monitorConfig{
		Mode: "plain", Dependencies: []string{"web.dep"}, Args: []string{"--zk", "127.0.0.1:1"},
	})
	await(t, "the admin address to answer", func() error {
		response, err := adminClient.Get("http://" + m.adminAddr + "/admin/ping")
		if err == nil {
			err = response.Body.Close()
		}
		return err
	})
	if code, body := m.request(http.MethodGet, "/admin/healthcheck"); code != http.StatusNoContent || body != "" {
		t.Errorf("the health check answers %d, %q", code, body)
	}
	s := m.status()
	if s.Ready || !s.Healthy || s.ZooKeeper.Connected {
		t.Errorf("the status is %+v", s)
	}
	m.terminate()
	if strings.Contains(m.stderr.String(), "\nready ") {
		t.Error("it said that it was ready")
	}
}
