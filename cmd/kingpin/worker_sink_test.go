package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/metaconfig"
	kpsync "github.com/kingpinfs/kingpin/sync"
)

// pythonTime is when the Python monitor wrote its files.
var pythonTime = time.Unix(1448012399, 987654321)

// leave puts files into a directory as the Python monitor left them.
func leave(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, pythonTime, pythonTime); err != nil {
			t.Fatal(err)
		}
	}
}

// openSink opens plain volumes in a directory, and the sink over them.
func openSink(t *testing.T, dir string) *fileSink {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	open := func(cfg kpfs.Config) *kpfs.Volume {
		cfg.Mode, cfg.Logger = kpfs.Plain, log
		v := kpfs.New(cfg)
		if err := v.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := v.Close(); err != nil {
				t.Error(err)
			}
		})
		if err := v.Mount(t.Context()); err != nil {
			t.Fatal(err)
		}
		return v
	}
	return newFileSink(
		open(kpfs.Config{Dir: filepath.Join(dir, "config"), Subdirs: []string{deciderDir}}),
		open(kpfs.Config{Dir: filepath.Join(dir, "serverset")}), log)
}

// What a Python monitor left is served with no byte and no time of it changed,
// the deciders each as a file besides; and nothing that isn't a file is taken for
// one.
func TestSinkAdoptsPythonsFiles(t *testing.T) {
	dir := t.TempDir()
	configs := map[string]string{
		"config.manageddata.test.x": `{"a": 1}`, deciderConfig: `{"exp_one": 50, "exp_two": 0}`, "README": "hands off",
	}
	serversets := map[string]string{"discovery.search.prod": "10.0.0.2:80\n10.0.0.1:80"}
	leave(t, filepath.Join(dir, "config"), configs)
	leave(t, filepath.Join(dir, "serverset"), serversets)
	for _, name := range []string{"config", "serverset"} {
		if err := os.Mkdir(filepath.Join(dir, name, "a directory"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sink := openSink(t, dir)
	engine := kpsync.New(kpsync.Config{
		Dependencies: []string{"box.dep"}, Sink: sink, StateDir: filepath.Join(dir, "state"), Logger: sink.log,
	})
	engine.Restore()

	check := func(v *kpfs.Volume, path, name, content string) {
		t.Helper()
		e, status, ok := v.Get(name)
		if !ok || string(e.Content) != content || !e.ModTime.Equal(pythonTime) || status.State != string(kpsync.Stale) || status.Err == "" {
			t.Errorf("%q is served as %+v, %+v (%v)", name, e, status, ok)
		}
		info, err := os.Stat(filepath.Join(path, name))
		if err != nil || !info.ModTime().Equal(pythonTime) {
			t.Errorf("%q: %v, %v", name, info, err)
		}
		if now, err := os.ReadFile(filepath.Join(path, name)); err != nil || string(now) != content {
			t.Errorf("%q holds %q: %v", name, now, err)
		}
	}
	for name, content := range configs {
		check(sink.configs, filepath.Join(dir, "config"), name, content)
	}
	check(sink.configs, filepath.Join(dir, "config"), "decider/exp_one", "50\n")
	check(sink.configs, filepath.Join(dir, "config"), "decider/exp_two", "0\n")
	for name, content := range serversets {
		check(sink.serversets, filepath.Join(dir, "serverset"), name, content)
	}
	for _, v := range []*kpfs.Volume{sink.configs, sink.serversets} {
		if foreign := v.Foreign(); !slices.Equal(foreign, []string{"a directory"}) {
			t.Errorf("foreign are %q", foreign)
		}
	}

	// Nothing turns out to ask for the deciders, and for somebody's file.
	sink.Disown(metaconfig.Config, deciderConfig)
	sink.Disown(metaconfig.Config, "README")
	if names, want := sink.configs.Names(), []string{"config.manageddata.test.x"}; !slices.Equal(names, want) {
		t.Errorf("served are %q, want %q", names, want)
	}
	if foreign, want := sink.configs.Foreign(), []string{"README", "a directory", deciderConfig}; !slices.Equal(foreign, want) {
		t.Errorf("foreign are %q, want %q", foreign, want)
	}
	if left := sink.Leftovers(metaconfig.Config); !slices.Contains(left, deciderConfig) {
		t.Errorf("left over are %q", left)
	}
}
