package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kingpinfs/kingpin/scripts/internal/rig"
	"github.com/kingpinfs/kingpin/scripts/internal/rigtest"
)

func TestMain(m *testing.M) {
	if code, ok := rig.RunRole(); ok {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

// What is quick to measure is measured.
func TestQuickRun(t *testing.T) {
	var stdout strings.Builder
	args := []string{"--binary", rigtest.BuildKingpin(t), "--quick", "--only", "reads,updates,writes", "--output", "json"}
	if code := run(t.Context(), args, &stdout, t.Output()); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &stdout)
	}
	var rows []row
	if err := json.Unmarshal([]byte(stdout.String()), &rows); err != nil {
		t.Fatalf("%v\n%s", err, &stdout)
	}
	if len(rows) != 14 {
		t.Fatalf("%d rows, not 14:\n%s", len(rows), &stdout)
	}
	for _, r := range rows[1:] {
		if r.Measured.Value <= 0 || r.Baseline.Value <= 0 || r.Ratio == nil || r.Measured.Unit != "s" {
			t.Errorf("%q wasn't measured: %+v", r.What, r)
		}
	}
	if rows[0].Measured.Value != 0 {
		t.Errorf("reading cached files took %v messages", rows[0].Measured.Value)
	}
}

// The program that measures Thrift calls is another module, which tests reach here.
func TestCalls(t *testing.T) {
	all, err := runPoolbench(t.Context(), callRounds{1, 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.CallsPerSecond <= 0 || c.P50 <= 0 || c.P99 < c.P50 || c.CPU <= 0 || c.Allocs <= 0 || c.Bytes <= 0 {
			t.Errorf("it measured %+v", c)
		}
	}
	var b table
	if err := b.addCalls(all); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.rows {
		if r.Ratio == nil {
			t.Errorf("%q isn't compared: %+v", r.What, r)
		}
	}
}

func TestAddCalls(t *testing.T) {
	measured := func(client, transport string, goroutines int, speed float64) calls {
		return calls{Client: client, Transport: transport, Goroutines: goroutines, CallsPerSecond: speed, P50: 1e-3, P99: 2e-3, CPU: 1e-6, Allocs: 7.5, Bytes: 300}
	}
	var b table
	if err := b.addCalls([]calls{
		measured("bare", "framed", 16, 1000), measured("pool", "framed", 16, 960), measured("baseplate", "framed", 16, 960),
		measured("bare", "header", 1, 1000), measured("pool", "header", 1, 940), measured("baseplate", "header", 1, 930),
	}); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := b.print(&out, false); err != nil {
		t.Fatal(err)
	}
	want := `what                                                                          measured  baseline  ratio  goal     met
Thrift calls, 16 at once: how many, against a bare client each                   960/s    1000/s  0.96×  ≥ 0.95×  yes
Thrift calls, 16 at once: p50, against a bare client each                      1.00 ms   1.00 ms  1.00×  –        –
Thrift calls, 16 at once: p99, against a bare client each                      2.00 ms   2.00 ms  1.00×  –        –
Thrift calls, 16 at once: processor time, against a bare client each           1.00 µs   1.00 µs  1.00×  –        –
Thrift calls, 16 at once: allocations, against a bare client each                 7.50      7.50  1.00×  –        –
Thrift calls, 16 at once: bytes allocated, against a bare client each            300 B     300 B  1.00×  –        –
Thrift calls, 16 at once: how many, against baseplate.go's pool                  960/s     960/s  1.00×  > 1×     NO
Thrift calls, 16 at once: p50, against baseplate.go's pool                     1.00 ms   1.00 ms  1.00×  –        –
Thrift calls, 16 at once: p99, against baseplate.go's pool                     2.00 ms   2.00 ms  1.00×  –        –
Thrift calls, 16 at once: processor time, against baseplate.go's pool          1.00 µs   1.00 µs  1.00×  –        –
Thrift calls, 16 at once: allocations, against baseplate.go's pool                7.50      7.50  1.00×  –        –
Thrift calls, 16 at once: bytes allocated, against baseplate.go's pool           300 B     300 B  1.00×  –        –
Thrift calls, 1 at once, over THeader: how many, against a bare client each      940/s    1000/s  0.94×  ≥ 0.95×  NO
Thrift calls, 1 at once, over THeader: how many, against baseplate.go's pool     940/s     930/s  1.01×  > 1×     yes
`
	if out.String() != want {
		t.Errorf("printed\n%s\nnot\n%s", &out, want)
	}
	for name, all := range map[string][]calls{
		"nothing": nil, "no pool": {measured("bare", "framed", 1, 1)},
		"no peer": {measured("bare", "framed", 1, 1), measured("pool", "framed", 1, 1)},
		"others":  {measured("bare", "framed", 1, 1), measured("pool", "framed", 16, 1), measured("baseplate", "header", 16, 1)},
	} {
		if err := new(table).addCalls(all); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	for _, args := range [][]string{
		{"--only", "reads,nothing"}, {"--output", "xml"}, {"--nothing"}, {"reads"},
	} {
		var stderr strings.Builder
		if code := run(t.Context(), args, &strings.Builder{}, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("%q: exit code %d, and says %q", args, code, &stderr)
		}
	}
}

func TestBinaryThatIsMissing(t *testing.T) {
	var stderr strings.Builder
	code := run(t.Context(), []string{"--binary", filepath.Join(t.TempDir(), "kingpin"), "--only", "reads"}, &strings.Builder{}, &stderr)
	if code != 1 || !strings.Contains(stderr.String(), "make build") {
		t.Errorf("exit code %d, and says %q", code, &stderr)
	}
}

func TestTable(t *testing.T) {
	var b table
	b.add("kills", "failed", count(0), nil).goal("0", true)
	b.add("reads", "p50", nanoseconds(1500), nanoseconds(1000)).ratioGoal(1.2)
	b.add("memory", "RSS", size(12_345_678), nil)
	b.add("rest", "switches", perSecond(6), perSecond(4))
	var out strings.Builder
	if err := b.print(&out, false); err != nil {
		t.Fatal(err)
	}
	want := `what      measured  baseline  ratio  goal    met
p50        1.50 µs   1.00 µs  1.50×  ≤ 1.2×  NO
RSS        12.3 MB         –      –  –       –
switches    6.00/s    4.00/s  1.50×  –       –
failed           0         –      –  0       yes
`
	if out.String() != want {
		t.Errorf("printed\n%s\nnot\n%s", &out, want)
	}
}

func TestQuantities(t *testing.T) {
	for want, q := range map[string]*quantity{
		"–": nil, "1.50 µs": seconds(1500), "123 µs": seconds(123_456), "12.3 ms": seconds(12_345_678),
		"2.00 s": seconds(2 * time.Second), "7": count(7), "0.50/s": perSecond(0.5),
	} {
		if got := q.String(); got != want {
			t.Errorf("%+v is written %q, not %q", q, got, want)
		}
	}
	for want, n := range map[string]int{"7": 7, "999": 999, "1,000": 1000, "1,234,056": 1234056} {
		if got := thousands(n); got != want {
			t.Errorf("%d is written %q, not %q", n, got, want)
		}
	}
}

func TestParseBenchmarks(t *testing.T) {
	got := parseBenchmarks(`goos: linux
BenchmarkPublish/plain/read=true-2  	    5000	    229000 ns/op
BenchmarkPublish/fuse/read=true-2   	    2000	    568123.5 ns/op	  10 B/op
BenchmarkPublish/fuse/read=true-2   	    2000	    570000 ns/op
PASS
ok  	github.com/kingpinfs/kingpin/fs	9.1s
`)
	want := map[string][]time.Duration{publishedPlain: {229000}, publishedByFUSE: {568123, 570000}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
