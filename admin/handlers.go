package admin

import (
	"fmt"
	"net/http"
	"time"

	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/store"
	kpsync "github.com/kingpinfs/kingpin/sync"
)

func (s *Server) ping(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("Ping!\n"))
}

type statusCode struct {
	Status int `json:"status"`
}

// healthcheck answers 204 without the body that its other answers have: HTTP
// allows none there.
func (s *Server) healthcheck(w http.ResponseWriter, _ *http.Request) {
	if !s.cfg.Describe().Healthy {
		s.answer(w, http.StatusInternalServerError, statusCode{http.StatusInternalServerError})
		return
	}
	select {
	case <-s.cfg.Engine.Ready():
		s.answer(w, http.StatusOK, statusCode{http.StatusOK})
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	status := s.cfg.Describe()
	snap := s.cfg.Engine.Snapshot()
	status.addSnapshot(&snap)
	status.PublishedFile = s.cfg.Engine.Stats().Published.Load()
	if status.Warnings == nil {
		status.Warnings = []string{}
	}
	s.answer(w, http.StatusOK, status)
}

func (s *Server) watchedMetaconfigs(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, names(s.cfg.Engine.Snapshot().Metaconfigs))
}

func (s *Server) watchedDependencies(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, names(s.cfg.Engine.Snapshot().Dependencies))
}

func names(nodes []kpsync.NodeStatus) []string {
	out := make([]string, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	return out
}

func (s *Server) rejected() []string {
	paths := []string{}
	for _, f := range s.cfg.Engine.Snapshot().Serversets {
		if f.State == kpsync.Held {
			paths = append(paths, f.ZKPath)
		}
	}
	return paths
}

func (s *Server) rejectedServersets(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, s.rejected())
}

func (s *Server) rejectedHealthcheck(w http.ResponseWriter, _ *http.Request) {
	code := http.StatusOK
	if len(s.rejected()) > 0 {
		code = http.StatusInternalServerError
	}
	s.answer(w, code, statusCode{code})
}

// configDetails and serversetDetails have the Python monitor's field names.
type configDetails struct {
	Version          int32   `json:"version"`
	Notified         float64 `json:"notification_timestamp"`
	LastProcessed    float64 `json:"last_processed_timestamp"`
	Modified         float64 `json:"modification_timestamp"`
	DownloaderResult int     `json:"run_command_ret"`
}

type serversetDetails struct {
	Hashsum      int     `json:"hashsum"`
	NumEndpoints int     `json:"num_endpoints"`
	Notified     float64 `json:"notification_timestamp"`
	Modified     float64 `json:"modification_timestamp"`
}

func newConfigDetails(f *kpsync.FileStatus) any {
	return configDetails{
		Version: f.ZnodeVersion, Notified: unixTime(f.NotifiedAt), LastProcessed: unixTime(f.ProcessedAt),
		Modified: unixTime(f.ChangedAt), DownloaderResult: downloaderResult(f),
	}
}

func newServersetDetails(f *kpsync.FileStatus) any {
	return serversetDetails{
		Hashsum: serverset.Hashsum(f.Endpoints), NumEndpoints: len(f.Endpoints),
		Notified: unixTime(f.NotifiedAt), Modified: unixTime(f.ChangedAt),
	}
}

// downloaderResult is the exit code of the Python downloader for the same
// failure, which alerting rules look at.
func downloaderResult(f *kpsync.FileStatus) int {
	missing := f.Kind == store.NotFound
	switch {
	case f.Err == "":
		return 0
	case f.Stage == kpsync.StageZooKeeper && missing:
		return 6
	case f.Stage == kpsync.StageZooKeeper:
		return 2
	case f.Stage == kpsync.StageS3 && missing:
		return 101
	default:
		return 102
	}
}

func unixTime(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}

func byPath(files []kpsync.FileStatus, details func(*kpsync.FileStatus) any, into map[string]any) {
	for i := range files {
		into[files[i].ZKPath] = details(&files[i])
	}
}

func (s *Server) configs(w http.ResponseWriter, r *http.Request) {
	s.files(w, r, s.cfg.Engine.Snapshot().Configs, newConfigDetails)
}

func (s *Server) serversets(w http.ResponseWriter, r *http.Request) {
	s.files(w, r, s.cfg.Engine.Snapshot().Serversets, newServersetDetails)
}

func (s *Server) files(w http.ResponseWriter, r *http.Request, files []kpsync.FileStatus, details func(*kpsync.FileStatus) any) {
	all := map[string]any{}
	byPath(files, details, all)
	if path := r.PathValue("path"); path != "" {
		s.answer(w, http.StatusOK, all["/"+path]) // null if there is none
		return
	}
	s.answer(w, http.StatusOK, all)
}

func (s *Server) details(w http.ResponseWriter, _ *http.Request) {
	snap := s.cfg.Engine.Snapshot()
	data := map[string]any{}
	byPath(snap.Configs, newConfigDetails, data)
	byPath(snap.Serversets, newServersetDetails, data)
	s.answer(w, http.StatusOK, map[string]any{
		"start_time":                  unixTime(s.cfg.Describe().StartedAt),
		"last_success_periodic_check": unixTime(snap.ResyncedAt),
		"data":                        data,
	})
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	path := "/" + r.PathValue("path")
	if !s.cfg.Engine.Reread(path) {
		http.Error(w, fmt.Sprintf("this box watches no znode %q", path), http.StatusNotFound)
	}
}

func (s *Server) resync(http.ResponseWriter, *http.Request) { s.cfg.Engine.Resync(0) }

func (s *Server) acceptServerset(w http.ResponseWriter, r *http.Request) {
	if err := s.cfg.Engine.AcceptServerset(r.PathValue("name")); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
	}
}

func (s *Server) kill(w http.ResponseWriter, _ *http.Request) {
	s.cfg.Logger.Warn("stopping: asked to by POST /admin/kill")
	w.WriteHeader(http.StatusOK)
	s.cfg.Kill()
}
