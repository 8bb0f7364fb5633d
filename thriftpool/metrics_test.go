package thriftpool_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kingpinfs/kingpin/thriftpool"
	"github.com/kingpinfs/kingpin/thriftpool/internal/probe"
)

// value returns a metric's value; 0 if there is no such series.
func value(t *testing.T, registry *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	for _, family := range families {
		if family.GetName() != "kingpin_thrift_"+name {
			continue
		}
		for _, metric := range family.GetMetric() {
			var got []string
			for _, pair := range metric.GetLabel() {
				if pair.GetName() != "pool" {
					got = append(got, pair.GetValue())
				}
			}
			if strings.Join(got, ",") != strings.Join(labels, ",") {
				continue
			}
			if h := metric.GetHistogram(); h != nil {
				return float64(h.GetSampleCount())
			}
			return metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return 0
}

func TestMetrics(t *testing.T) {
	s := serve(t, newHandler(), serverOptions{})
	dead := misbehave(t, func(c net.Conn) { _, _ = request(c) })
	registry := prometheus.NewRegistry()
	provider := hostsOf(s.endpoint())
	pool := open(t, provider, thriftpool.Options{
		Metrics: registry, Name: "probes", Idempotent: []string{"echo"}, MaxLabels: 3,
	})
	for range 7 {
		_, err := client(pool).Echo(within(t), "hello")
		must(t, err)
	}
	_ = client(pool).Crash(within(t))
	want := func(n float64, name string, labels ...string) {
		t.Helper()
		if got := value(t, registry, name, labels...); got != n {
			t.Errorf("%s%q is %v, want %v", name, labels, got, n)
		}
	}
	want(7, "calls_total", "echo", "ok")
	want(1, "calls_total", "crash", "exception")
	want(7, "call_seconds", "echo")
	want(7, "attempts_total", s.endpoint(), "ok")
	want(1, "attempts_total", s.endpoint(), "exception")
	want(8, "attempt_seconds", s.endpoint())
	want(1, "dials_total", s.endpoint(), "ok")
	want(1, "connections", s.endpoint(), "idle")
	want(0, "connections", s.endpoint(), "busy")
	want(0, "waiting_calls")
	want(100, "retry_budget")

	// Methods beyond the bound share a label.
	for i := range 5 {
		_, _ = pool.Call(within(t), fmt.Sprintf("method%d", i), &probe.ProbeEchoArgs{}, &probe.ProbeEchoResult{})
	}
	want(1, "calls_total", "method0", "exception")
	want(4, "calls_total", "other", "exception")

	// A host that fails, which then leaves, and its metrics with it.
	provider.set(dead.endpoint)
	eventually(t, "the other host is asked", func() bool {
		_, err := client(pool).Count(within(t), "x")
		return err != nil
	})
	want(1, "attempts_total", dead.endpoint, "broken")
	want(1, "calls_total", "other", "broken")
	provider.set(s.endpoint())
	eventually(t, "the metrics of the host that left are gone", func() bool {
		_, err := client(pool).Echo(within(t), "hello")
		must(t, err)
		return value(t, registry, "attempts_total", dead.endpoint, "broken") == 0
	})

	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("the linter says %v, %v", problems, err)
	}
	if _, err := thriftpool.New(provider, thriftpool.Options{Metrics: registry, Name: "probes"}); err == nil || !strings.Contains(err.Error(), "Name") {
		t.Errorf("a second pool of the same name: %v", err)
	}
	must(t, pool.Close(within(t)))
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 0 {
		t.Errorf("after Close there are %d metrics, %v", n, err)
	}
}

// TestHostLabels has more hosts than may have labels.
func TestHostLabels(t *testing.T) {
	registry := prometheus.NewRegistry()
	provider := hostsOf()
	pool := open(t, provider, thriftpool.Options{
		Metrics: registry, MaxLabels: 2, MaxAttempts: 1,
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed },
	})
	provider.set("a:1", "b:1", "c:1", "d:1")
	eventually(t, "all hosts were asked", func() bool {
		_, _ = client(pool).Echo(within(t), "hello")
		return value(t, registry, "attempts_total", "other", "dial") > 0
	})
	families, err := registry.Gather()
	must(t, err)
	for _, family := range families {
		if family.GetName() == "kingpin_thrift_attempts_total" && len(family.GetMetric()) != 3 {
			t.Errorf("there are %d series", len(family.GetMetric()))
		}
	}
}

// TestLog sees what is logged, at debug level, of a call that is made again.
func TestLog(t *testing.T) {
	s := serve(t, newHandler(), serverOptions{})
	var text bytes.Buffer
	pool := open(t, hostsOf(refusing(t), s.endpoint()), thriftpool.Options{
		Logger: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	eventually(t, "the dead host was asked", func() bool {
		_, err := client(pool).Echo(within(t), "secret")
		must(t, err)
		return strings.Contains(text.String(), "calling another host")
	})
	if !strings.Contains(text.String(), "method=echo") || strings.Contains(text.String(), "secret") {
		t.Error(text.String())
	}
}
