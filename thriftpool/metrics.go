package thriftpool

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// other is the label of hosts and methods beyond the bound.
const other = "other"

// metrics counts what a pool does. A nil one doesn't.
type metrics struct {
	pool *Pool

	calls       *prometheus.CounterVec   // by method and outcome
	callTime    *prometheus.HistogramVec // by method
	attempts    *prometheus.CounterVec   // by host and outcome
	attemptTime *prometheus.HistogramVec // by host
	dials       *prometheus.CounterVec   // by host and outcome
	retries     prometheus.Counter
	hedges      prometheus.Counter
	hedgesWon   prometheus.Counter
	ejections   prometheus.Counter

	connections *prometheus.Desc // by host and state
	waiting     *prometheus.Desc
	budget      *prometheus.Desc

	methods atomic.Pointer[map[string]*methodMetrics] // replaced with mu held
	mu      sync.Mutex                                // guards hosts
	hosts   map[string]int                            // how many records have a label of their own
}

// methodMetrics are those of one method.
type methodMetrics struct {
	outcomes outcomes
	time     prometheus.Observer
}

// hostMetrics are those of one host.
type hostMetrics struct {
	label           string
	attempts, dials outcomes
	time            prometheus.Observer
}

// outcomes has a counter for each outcome that has occurred, found without a
// lock.
type outcomes struct {
	vec      *prometheus.CounterVec
	label    string
	counters [kinds]atomic.Pointer[prometheus.Counter]
}

func (o *outcomes) count(kind faultKind) {
	counter := o.counters[kind].Load()
	if counter == nil {
		made := o.vec.WithLabelValues(o.label, kind.String())
		counter = &made
		o.counters[kind].Store(counter)
	}
	(*counter).Inc()
}

// newMetrics registers metrics; without a registerer it returns nil.
func newMetrics(p *Pool) (*metrics, error) {
	if p.options.Metrics == nil {
		return nil, nil
	}
	labels := prometheus.Labels{"pool": p.options.Name}
	name := func(name string) string { return "kingpin_thrift_" + name }
	counters := func(n, help string, by ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name(n), Help: help, ConstLabels: labels}, by)
	}
	counter := func(n, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name(n), Help: help, ConstLabels: labels})
	}
	times := func(n, help, by string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name(n), Help: help, ConstLabels: labels,
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{by})
	}
	desc := func(n, help string, by ...string) *prometheus.Desc {
		return prometheus.NewDesc(name(n), help, by, labels)
	}
	m := &metrics{
		pool:        p,
		calls:       counters("calls_total", "Calls, by method and outcome.", "method", "outcome"),
		callTime:    times("call_seconds", "Time that calls took, with waiting and retries.", "method"),
		attempts:    counters("attempts_total", "Hosts asked, by host and outcome.", "host", "outcome"),
		attemptTime: times("attempt_seconds", "Time that hosts took to answer.", "host"),
		dials:       counters("dials_total", "Attempts to connect, by host and outcome.", "host", "outcome"),
		retries:     counter("retries_total", "Calls made again to another host."),
		hedges:      counter("hedges_total", "Calls made to a second host beside the first."),
		hedgesWon:   counter("hedges_won_total", "Hedges that were answered first."),
		ejections:   counter("ejections_total", "Hosts left alone for a while because they failed."),
		connections: desc("connections", "Connections, by host and whether they are idle.", "host", "state"),
		waiting:     desc("waiting_calls", "Calls that wait for a connection."),
		budget:      desc("retry_budget", "Retries and hedges that there may be now."),
		hosts:       make(map[string]int),
	}
	m.methods.Store(&map[string]*methodMetrics{})
	if err := p.options.Metrics.Register(m); err != nil {
		return nil, fmt.Errorf("registering the metrics of the Thrift pool %q, which need a Name of their own: %w", p.options.Name, err)
	}
	return m, nil
}

func (m *metrics) unregister() {
	if m != nil {
		m.pool.options.Metrics.Unregister(m)
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.calls, m.callTime, m.attempts, m.attemptTime, m.dials,
		m.retries, m.hedges, m.hedgesWon, m.ejections,
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(descs)
	}
	descs <- m.connections
	descs <- m.waiting
	descs <- m.budget
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(values chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(values)
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		values <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	idle, busy, waiting := m.pool.byLabel()
	for host := range busy {
		gauge(m.connections, float64(idle[host]), host, "idle")
		gauge(m.connections, float64(busy[host]), host, "busy")
	}
	gauge(m.waiting, float64(waiting))
	gauge(m.budget, m.pool.budget.left())
}

// byLabel counts the connections by the label of their host.
func (p *Pool) byLabel() (idle, busy map[string]int, waiting int) {
	idle, busy = make(map[string]int), make(map[string]int)
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := p.oldest; c != nil; c = c.newer {
		idle[c.host.metrics.label]++
		busy[c.host.metrics.label]--
	}
	for _, h := range p.hosts {
		busy[h.metrics.label] += h.total
	}
	return idle, busy, p.queue.length
}

// host returns the metrics of a host, which are to be given back.
func (m *metrics) host(endpoint string) *hostMetrics {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	label := endpoint
	if m.hosts[label] == 0 && len(m.hosts) >= m.pool.options.MaxLabels {
		label = other
	} else {
		m.hosts[label]++
	}
	return &hostMetrics{
		label:    label,
		attempts: outcomes{vec: m.attempts, label: label},
		dials:    outcomes{vec: m.dials, label: label},
		time:     m.attemptTime.WithLabelValues(label),
	}
}

// hostLeft drops the series of a host that has no connection any more, and won't
// have one, so that hosts to come can have their own.
func (m *metrics) hostLeft(h *hostMetrics) {
	if m == nil || h.label == other {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hosts[h.label]--; m.hosts[h.label] > 0 {
		return
	}
	delete(m.hosts, h.label)
	series := prometheus.Labels{"host": h.label}
	m.attempts.DeletePartialMatch(series)
	m.dials.DeletePartialMatch(series)
	m.attemptTime.DeletePartialMatch(series)
}

// method returns the metrics of a method.
func (m *metrics) method(method string) *methodMetrics {
	if known := (*m.methods.Load())[method]; known != nil {
		return known
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known := *m.methods.Load()
	if known[method] != nil {
		return known[method]
	}
	if len(known) >= m.pool.options.MaxLabels {
		method = other // which is one more than the bound
		if known[method] != nil {
			return known[method]
		}
	}
	more := make(map[string]*methodMetrics, len(known)+1)
	for name, metrics := range known {
		more[name] = metrics
	}
	more[method] = &methodMetrics{outcomes: outcomes{vec: m.calls, label: method}, time: m.callTime.WithLabelValues(method)}
	m.methods.Store(&more)
	return more[method]
}

func (m *metrics) called(method string, kind faultKind, took time.Duration) {
	if m != nil {
		of := m.method(method)
		of.outcomes.count(kind)
		of.time.Observe(took.Seconds())
	}
}

func (h *hostMetrics) attempted(kind faultKind, took time.Duration) {
	if h != nil {
		h.attempts.count(kind)
		h.time.Observe(took.Seconds())
	}
}

func (h *hostMetrics) dialled(kind faultKind) {
	if h != nil {
		h.dials.count(kind)
	}
}

func (m *metrics) retried() {
	if m != nil {
		m.retries.Inc()
	}
}

func (m *metrics) hedged() {
	if m != nil {
		m.hedges.Inc()
	}
}

func (m *metrics) hedgeWon() {
	if m != nil {
		m.hedgesWon.Inc()
	}
}

func (m *metrics) ejected() {
	if m != nil {
		m.ejections.Inc()
	}
}
