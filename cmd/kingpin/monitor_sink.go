package main

import (
	"errors"
	"fmt"
	"log/slog"

	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
	kpsync "github.com/kingpinfs/kingpin/sync"
)

// fileSink is where the sync engine's files go: one volume for configs, with
// each decider as a file of its own beside them, and one for serversets.
type fileSink struct {
	configs    *kpfs.Volume
	serversets *kpfs.Volume
	deciders   *deciderFiles
}

var _ kpsync.Sink = (*fileSink)(nil)

func newFileSink(configs, serversets *kpfs.Volume, log *slog.Logger) *fileSink {
	return &fileSink{configs: configs, serversets: serversets, deciders: &deciderFiles{volume: configs, log: log}}
}

func (s *fileSink) volume(t metaconfig.Type) *kpfs.Volume {
	if t == metaconfig.Serverset {
		return s.serversets
	}
	return s.configs
}

func hasDeciders(t metaconfig.Type, name string) bool {
	return t == metaconfig.Config && name == deciderConfig
}

// Read implements kpsync.Sink.
func (s *fileSink) Read(t metaconfig.Type, name string) ([]byte, error) {
	content, _, err := s.volume(t).ReadPlain(name)
	return content, err
}

// Adopt implements kpsync.Sink.
func (s *fileSink) Adopt(t metaconfig.Type, name string, e kpsync.Entry) {
	s.volume(t).Adopt(name, newEntry(e))
	if hasDeciders(t, name) {
		if err := s.deciders.adopt(e); err != nil {
			s.deciders.log.Warn("the files of the deciders aren't as they should be; they are written again with the next version", "error", err)
		}
	}
}

// Publish implements kpsync.Sink.
func (s *fileSink) Publish(t metaconfig.Type, name string, e kpsync.Entry) error {
	if err := s.volume(t).Publish(name, newEntry(e)); errors.Is(err, kpfs.ErrName) {
		return &store.Error{Op: "serving", Subject: name, Kind: store.Invalid, Err: err}
	} else if err != nil {
		return err
	}
	if hasDeciders(t, name) {
		return s.deciders.publish(e)
	}
	return nil
}

// Remove implements kpsync.Sink.
func (s *fileSink) Remove(t metaconfig.Type, name string) error {
	if hasDeciders(t, name) {
		if err := s.deciders.remove(); err != nil {
			return err
		}
	}
	err := s.volume(t).Remove(name)
	if errors.Is(err, kpfs.ErrName) {
		return nil // it has never been served
	}
	return err
}

// SetStatus implements kpsync.Sink.
func (s *fileSink) SetStatus(t metaconfig.Type, name string, status kpsync.Status) {
	shown := kpfs.Status{State: string(status.State), SyncedAt: status.SyncedAt, Err: status.Err}
	s.volume(t).SetStatus(name, shown)
	if hasDeciders(t, name) {
		s.deciders.setStatus(shown)
	}
}

// Flush implements kpsync.Sink.
func (s *fileSink) Flush() error {
	err := errors.Join(s.configs.Flush(), s.serversets.Flush())
	if err != nil {
		return fmt.Errorf("flushing files to disk: %w", err)
	}
	return nil
}

func newEntry(e kpsync.Entry) kpfs.Entry {
	return kpfs.Entry{Content: e.Content, ModTime: e.ModTime, Version: e.Version, ZKPath: e.ZKPath}
}
