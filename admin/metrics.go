package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	kpsync "github.com/kingpinfs/kingpin/sync"
)

// collector derives the metrics from what the engine knows at the moment of a
// scrape, so that counting costs nothing in between.
type collector struct {
	engine   Engine
	describe func() Status
	counters []counter
	process  []prometheus.Collector
}

type counter struct {
	desc  *prometheus.Desc
	value func(*kpsync.Stats) int64
}

func newCounter(name, help string, value func(*kpsync.Stats) int64) counter {
	return counter{prometheus.NewDesc("kingpin_"+name, help, nil, nil), value}
}

var (
	filesDesc = prometheus.NewDesc("kingpin_files",
		"Files that this box subscribes to, by type and state.", []string{"type", "state"}, nil)
	oldestDesc = prometheus.NewDesc("kingpin_oldest_sync_age_seconds",
		"Age of the oldest moment at which a served file was last known to be current.", []string{"type"}, nil)
	readyDesc     = prometheus.NewDesc("kingpin_ready", "1 if the first load is over.", nil, nil)
	healthyDesc   = prometheus.NewDesc("kingpin_healthy", "1 if no part of the daemon is dead.", nil, nil)
	connectedDesc = prometheus.NewDesc("kingpin_zookeeper_connected", "1 if there is a ZooKeeper session.", nil, nil)
	modeDesc      = prometheus.NewDesc("kingpin_mode", "1 for the face that serves.", []string{"mode"}, nil)
	restartsDesc  = prometheus.NewDesc("kingpin_worker_restarts_total", "Workers started in the place of another.", nil, nil)
	fuseDesc      = prometheus.NewDesc("kingpin_fuse_requests_total",
		"FUSE requests answered, by operation. A cached read causes none.", []string{"operation"}, nil)
	mendedDesc = prometheus.NewDesc("kingpin_mended_files_total",
		"Plain files that somebody changed by hand, and that were put right.", nil, nil)
	writesDesc = prometheus.NewDesc("kingpin_writes_total",
		"Changes through the mount, by outcome: published, or the errno that the writer got.", []string{"outcome"}, nil)
	infoDesc = prometheus.NewDesc("kingpin_build_info", "1, labelled with the version of the binary.", []string{"version"}, nil)
)

func newCollector(engine Engine, describe func() Status) *collector {
	return &collector{
		engine: engine, describe: describe,
		process: []prometheus.Collector{
			collectors.NewGoCollector(),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		},
		counters: []counter{
			newCounter("notifications_total", "Watch events that concerned a subscription.", func(s *kpsync.Stats) int64 { return s.Notifications.Load() }),
			newCounter("znode_reads_total", "Znodes read.", func(s *kpsync.Stats) int64 { return s.Reads.Load() }),
			newCounter("fetches_total", "Objects fetched from S3.", func(s *kpsync.Stats) int64 { return s.Fetches.Load() }),
			newCounter("fetch_errors_total", "Objects that could not be fetched.", func(s *kpsync.Stats) int64 { return s.FetchErrors.Load() }),
			newCounter("published_total", "Versions published to the files.", func(s *kpsync.Stats) int64 { return s.Published.Load() }),
			newCounter("publish_errors_total", "Versions that could not be written.", func(s *kpsync.Stats) int64 { return s.PublishErrors.Load() }),
			newCounter("invalid_members_total", "Serverset members read that name no endpoint.", func(s *kpsync.Stats) int64 { return s.InvalidMembers.Load() }),
			newCounter("held_serversets_total", "Suspicious serversets that were held back.", func(s *kpsync.Stats) int64 { return s.HeldServersets.Load() }),
			newCounter("state_errors_total", "Failures to save the state for the next start.", func(s *kpsync.Stats) int64 { return s.StateErrors.Load() }),
			newCounter("worker_panics_total", "Attempts that ended in a panic.", func(s *kpsync.Stats) int64 { return s.WorkerPanics.Load() }),
			newCounter("zookeeper_sessions_expired_total", "ZooKeeper sessions lost.", func(s *kpsync.Stats) int64 { return s.SessionsExpired.Load() }),
		},
	}
}

// Describe implements prometheus.Collector. What the collector yields depends
// on what it finds, so it announces nothing beforehand.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	for _, p := range c.process {
		p.Collect(out)
	}
	stats := c.engine.Stats()
	for _, counter := range c.counters {
		out <- prometheus.MustNewConstMetric(counter.desc, prometheus.CounterValue, float64(counter.value(stats)))
	}
	status := c.describe()
	snap := c.engine.Snapshot()
	gauge(out, readyDesc, truth(snap.Ready))
	gauge(out, healthyDesc, truth(status.Healthy))
	gauge(out, connectedDesc, truth(status.ZooKeeper.Connected))
	gauge(out, modeDesc, 1, status.Mode)
	gauge(out, infoDesc, 1, status.Version)
	out <- prometheus.MustNewConstMetric(restartsDesc, prometheus.CounterValue, float64(status.Restarts))
	for operation, n := range status.FUSERequests {
		out <- prometheus.MustNewConstMetric(fuseDesc, prometheus.CounterValue, float64(n), operation)
	}
	mended := int64(0)
	if status.Mended != nil {
		mended = status.Mended.Times
	}
	out <- prometheus.MustNewConstMetric(mendedDesc, prometheus.CounterValue, float64(mended))
	for outcome, n := range status.Writes {
		out <- prometheus.MustNewConstMetric(writesDesc, prometheus.CounterValue, float64(n), outcome)
	}
	collectFiles(out, "config", snap.Configs)
	collectFiles(out, "serverset", snap.Serversets)
}

func collectFiles(out chan<- prometheus.Metric, kind string, files []kpsync.FileStatus) {
	now := time.Now()
	states := map[kpsync.State]int{kpsync.Fresh: 0, kpsync.Stale: 0, kpsync.Held: 0, kpsync.Absent: 0}
	oldest := time.Duration(0)
	for i := range files {
		states[files[i].State]++
		if synced := files[i].SyncedAt; !synced.IsZero() {
			oldest = max(oldest, now.Sub(synced))
		}
	}
	for state, n := range states {
		gauge(out, filesDesc, float64(n), kind, string(state))
	}
	gauge(out, oldestDesc, oldest.Seconds(), kind)
}

func gauge(out chan<- prometheus.Metric, desc *prometheus.Desc, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
