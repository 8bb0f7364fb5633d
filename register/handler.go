package register

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler answers requests about the registration. It changes nothing.
//
//	GET /admin/ping         Ping!
//	GET /admin/healthcheck  200 if the service is registered; 204 if it isn't known
//	                        yet whether it works; else 500
//	GET /admin/status       the Status, as JSON
//	GET /metrics            Prometheus's text
func (r *Registration) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /admin/ping", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "Ping!\n") // the client may be gone
	})
	mux.HandleFunc("GET /admin/healthcheck", func(w http.ResponseWriter, _ *http.Request) {
		code := healthCode(r.Status())
		r.answer(w, code, map[string]int{"status": code})
	})
	mux.HandleFunc("GET /admin/status", func(w http.ResponseWriter, _ *http.Request) {
		r.answer(w, http.StatusOK, r.Status())
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{r}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelWarn)}))
	return mux
}

func healthCode(s Status) int {
	switch {
	case s.Registered:
		return http.StatusOK
	case s.State == StateStarting:
		return http.StatusNoContent
	default:
		return http.StatusInternalServerError
	}
}

func (r *Registration) answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if code == http.StatusNoContent {
		return
	}
	if err := json.NewEncoder(w).Encode(body); err != nil {
		r.log.Debug("an admin client went away", "error", err)
	}
}

var (
	registeredDesc = prometheus.NewDesc("kingpin_register_registered",
		"1 if the service is a member of the serverset.", []string{"service", "environment"}, nil)
	healthyDesc = prometheus.NewDesc("kingpin_register_healthy",
		"1 if the checks say that the service works.", []string{"service", "environment"}, nil)
	registrationsDesc = prometheus.NewDesc("kingpin_register_registrations_total",
		"How often the service was made a member.", nil, nil)
	connectedDesc = prometheus.NewDesc("kingpin_zookeeper_connected", "1 if there is a ZooKeeper session.", nil, nil)
	durationDesc  = prometheus.NewDesc("kingpin_register_check_duration_seconds",
		"How long checks took.", []string{"check"}, nil)
	failuresDesc = prometheus.NewDesc("kingpin_register_check_failures_total",
		"Checks that failed.", []string{"check"}, nil)
)

// collector derives the metrics from the status at the moment of a scrape.
type collector struct{ r *Registration }

// Describe implements prometheus.Collector.
func (collector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{registeredDesc, healthyDesc, registrationsDesc, connectedDesc, durationDesc, failuresDesc} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	s := c.r.Status()
	gauge := func(d *prometheus.Desc, is bool, labels ...string) {
		value := 0.0
		if is {
			value = 1
		}
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(registeredDesc, s.Registered, s.Service, s.Environment)
	gauge(healthyDesc, s.Health == Healthy, s.Service, s.Environment)
	gauge(connectedDesc, s.ZooKeeper.Connected)
	metrics <- prometheus.MustNewConstMetric(registrationsDesc, prometheus.CounterValue, float64(s.Registrations))
	for _, check := range s.Checks {
		metrics <- prometheus.MustNewConstSummary(durationDesc, uint64(check.Passed+check.Failed), check.Took.Seconds(), nil, check.Name)
		metrics <- prometheus.MustNewConstMetric(failuresDesc, prometheus.CounterValue, float64(check.Failed), check.Name)
	}
}
