package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kingpinfs/kingpin/admin"
	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
	kpsync "github.com/kingpinfs/kingpin/sync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine answers what a test wants to see rendered.
type engine struct {
	snapshot kpsync.Snapshot
	stats    kpsync.Stats
	reread   []string
	resyncs  int
	accepted []string
}

func (e *engine) Snapshot() kpsync.Snapshot { return e.snapshot }
func (e *engine) Ready() <-chan struct{} {
	ready := make(chan struct{})
	if e.snapshot.Ready {
		close(ready)
	}
	return ready
}

func (e *engine) Stats() *kpsync.Stats { return &e.stats }
func (e *engine) Resync(time.Duration) { e.resyncs++ }

func (e *engine) Reread(path string) bool {
	e.reread = append(e.reread, path)
	return path == "/config/manageddata/test/x"
}

func (e *engine) AcceptServerset(name string) error {
	if name != "discovery.held.prod" {
		return errors.New("nothing is held back")
	}
	e.accepted = append(e.accepted, name)
	return nil
}

type box struct {
	*engine
	status admin.Status
	kills  int
	url    string
}

func start(t *testing.T) *box {
	t.Helper()
	b := &box{engine: &engine{}, status: admin.Status{Mode: "fuse", Healthy: true, Version: "v1", StartedAt: time.Unix(1448012000, 0)}}
	at := func(seconds float64) time.Time { return time.UnixMicro(int64(seconds * 1e6)) }
	b.snapshot = kpsync.Snapshot{
		Ready: true,
		Configs: []kpsync.FileStatus{
			{Type: metaconfig.Config, Name: "config.manageddata.test.x", ZKPath: "/config/manageddata/test/x", State: kpsync.Fresh,
				Version: "1448012345.67", ZnodeVersion: 7, NotifiedAt: at(1448012345.5), ProcessedAt: at(1448012346.25), ChangedAt: at(1448012346.125), SyncedAt: at(1448012346.25)},
			{Type: metaconfig.Config, Name: "config.manageddata.test.y", ZKPath: "/config/manageddata/test/y", State: kpsync.Absent,
				Err: "no such key", Kind: store.NotFound, Stage: kpsync.StageS3},
		},
		Serversets: []kpsync.FileStatus{
			{Type: metaconfig.Serverset, Name: "discovery.held.prod", ZKPath: "/discovery/held/prod", State: kpsync.Held,
				Endpoints: []string{"10.0.0.1:80", "10.0.0.2:80"}, Held: []string{}, HeldSince: at(1448012000), HeldReason: "empty"},
		},
		Metaconfigs:  []kpsync.NodeStatus{{Name: "config.manageddata.test.x"}},
		Dependencies: []kpsync.NodeStatus{{Name: "box.dep"}},
	}
	server := admin.New(admin.Config{Engine: b.engine, Describe: func() admin.Status { return b.status }, Kill: func() { b.kills++ }})
	ts := httptest.NewServer(server.Handler())
	t.Cleanup(func() { ts.Close(); http.DefaultClient.CloseIdleConnections() })
	b.url = ts.URL
	return b
}

func (b *box) do(t *testing.T, method, path string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r) // follows no redirects
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAnswers(t *testing.T) {
	b := start(t)
	x := `{"version":7,"notification_timestamp":1448012345.5,"last_processed_timestamp":1448012346.25,"modification_timestamp":1448012346.125,"run_command_ret":0}`
	y := `{"version":0,"notification_timestamp":0,"last_processed_timestamp":0,"modification_timestamp":0,"run_command_ret":101}`
	held := `{"hashsum":161,"num_endpoints":2,"notification_timestamp":0,"modification_timestamp":0}`
	for _, test := range []struct {
		path, body string
		code       int
	}{
		{"/admin/ping", "Ping!", 200},
		{"/admin/healthcheck", `{"status":200}`, 200},
		{"/admin/watched_metaconfigs", `["config.manageddata.test.x"]`, 200},
		{"/admin/watched_dependencies", `["box.dep"]`, 200},
		{"/admin/rejected_serversets", `["/discovery/held/prod"]`, 200},
		{"/admin/rejected_serversets/healthcheck", `{"status":500}`, 500},
		{"/config", `{"/config/manageddata/test/x":` + x + `,"/config/manageddata/test/y":` + y + `}`, 200},
		{"/config/config/manageddata/test/x", x, 200},
		{"/config//config/manageddata/test/x", x, 200},
		{"/config/config/none", "null", 200},
		{"/serverset/discovery/held/prod", held, 200},
		{"/serverset//discovery/held/prod", held, 200},
		{"/serverset/none", "null", 200},
		{"/admin/details", `{"data":{"/config/manageddata/test/x":` + x + `,"/config/manageddata/test/y":` + y +
			`,"/discovery/held/prod":` + held + `},"last_success_periodic_check":0,"start_time":1448012000}`, 200},
	} {
		if code, body := b.do(t, "GET", test.path); code != test.code || body != test.body+"\n" {
			t.Errorf("GET %s = %d %s\nwant %d %s", test.path, code, body, test.code, test.body)
		}
	}
}

func TestHealth(t *testing.T) {
	b := start(t)
	b.snapshot.Ready = false
	if code, body := b.do(t, "GET", "/admin/healthcheck"); code != 204 || body != "" {
		t.Errorf("before the first load: %d %q, want 204", code, body)
	}
	b.status.Healthy = false
	if code, body := b.do(t, "GET", "/admin/healthcheck"); code != 500 || body != `{"status":500}`+"\n" {
		t.Errorf("with a dead part: %d %q, want 500", code, body)
	}
	b.snapshot.Serversets = nil
	if code, _ := b.do(t, "GET", "/admin/rejected_serversets/healthcheck"); code != 200 {
		t.Errorf("with nothing held: %d, want 200", code)
	}
	if code, body := b.do(t, "GET", "/admin/rejected_serversets"); code != 200 || body != "[]\n" {
		t.Errorf("with nothing held: %d %q", code, body)
	}
}

func TestActions(t *testing.T) {
	b := start(t)
	for _, test := range []struct {
		method, path string
		code         int
	}{
		{"POST", "/admin/watch/config/manageddata/test/x", 200},
		{"POST", "/admin/watch//config/manageddata/test/x", 200},
		{"POST", "/admin/watch/nothing", 404},
		{"POST", "/admin/resync", 200},
		{"POST", "/admin/serverset/discovery.held.prod/accept", 200},
		{"POST", "/admin/serverset/discovery.other.prod/accept", 409},
		{"GET", "/admin/kill", 405},
		{"GET", "/nothing", 404},
	} {
		if code, _ := b.do(t, test.method, test.path); code != test.code {
			t.Errorf("%s %s = %d, want %d", test.method, test.path, code, test.code)
		}
	}
	if len(b.reread) != 3 || b.resyncs != 1 || len(b.accepted) != 1 || b.kills != 0 {
		t.Errorf("reread %q, resynced %d times, accepted %q, killed %d times", b.reread, b.resyncs, b.accepted, b.kills)
	}
	if code, _ := b.do(t, "POST", "/admin/kill", "Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"); code != 403 || b.kills != 0 {
		t.Errorf("kill from a page in a browser = %d, killed %d times", code, b.kills)
	}
	if code, _ := b.do(t, "POST", "/admin/kill"); code != 200 || b.kills != 1 {
		t.Errorf("kill = %d, killed %d times", code, b.kills)
	}
}

func TestStatus(t *testing.T) {
	b := start(t)
	_, body := b.do(t, "GET", "/admin/status")
	var status admin.Status
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatal(err)
	}
	if !status.Ready || status.Mode != "fuse" || len(status.Configs) != 2 || len(status.Serversets) != 1 {
		t.Errorf("status is %s", body)
	}
	if held := status.Serversets[0].Held; held == nil || held.Reason != "empty" {
		t.Errorf("the held serverset is %s", body)
	}
	for _, field := range []string{`"mode":`, `"ready":`, `"holder_pid":`, `"worker_pid":`, `"worker_restarts":`, `"connected":`, `"error":`, `"synced_at":`, `"state":`} {
		if !strings.Contains(body, field) {
			t.Errorf("no field %s in %s", field, body)
		}
	}
}

func TestMetrics(t *testing.T) {
	b := start(t)
	b.stats.Published.Store(42)
	b.status.FUSERequests = map[string]int64{"LOOKUP": 3}
	b.status.Writes = map[string]int64{"published": 5, "ESTALE": 1}
	b.status.Mended = &admin.Mended{Times: 4}
	b.status.Restarts = 7
	code, body := b.do(t, "GET", "/metrics")
	if code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	for _, line := range []string{
		"kingpin_published_total 42", `kingpin_files{state="held",type="serverset"} 1`, `kingpin_files{state="fresh",type="config"} 1`,
		`kingpin_fuse_requests_total{operation="LOOKUP"} 3`, `kingpin_mode{mode="fuse"} 1`, "kingpin_ready 1",
		`kingpin_writes_total{outcome="published"} 5`, `kingpin_writes_total{outcome="ESTALE"} 1`, "kingpin_mended_files_total 4",
		"kingpin_worker_restarts_total 7", "go_goroutines",
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("no line %q in\n%s", line, body)
		}
	}
}

// Whoever listens on the same socket answers what comes after a server's end.
func TestRequestsWaitForTheNextServer(t *testing.T) {
	b := start(t)
	listener, err := admin.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	url := "http://" + listener.Addr().String() + "/admin/ping"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 3 {
		inherited, err := listener.File()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := net.FileListener(inherited)
		if err := errors.Join(err, inherited.Close()); err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		go func() {
			response, err := client.Get(url)
			if err == nil {
				err = response.Body.Close()
			}
			answered <- err
		}()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- admin.New(admin.Config{Engine: b.engine, Describe: func() admin.Status { return b.status }}).Run(ctx, theirs)
		}()
		if err := <-answered; err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestListenNamesTheAddress(t *testing.T) {
	listener, err := admin.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	addr := listener.Addr().String()
	if _, err := admin.Listen(t.Context(), addr); err == nil || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "--admin-addr") {
		t.Errorf("the error is %v", err)
	}
}
