package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

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
	log        *slog.Logger
	worked     func() // is called after each Publish; nil: nobody wants to know
}

var _ kpsync.Sink = (*fileSink)(nil)

func newFileSink(configs, serversets *kpfs.Volume, log *slog.Logger) *fileSink {
	return &fileSink{configs: configs, serversets: serversets, deciders: &deciderFiles{volume: configs, log: log}, log: log}
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

// Leftovers implements kpsync.Sink. The files of the deciders are those of one
// config, and go with it.
func (s *fileSink) Leftovers(t metaconfig.Type) []string {
	return slices.DeleteFunc(s.volume(t).Foreign(), func(name string) bool {
		return strings.HasPrefix(name, deciderDir+"/")
	})
}

// Serves implements kpsync.Sink.
func (s *fileSink) Serves(t metaconfig.Type, name string) bool {
	_, _, ok := s.volume(t).Get(name)
	return ok
}

// Read implements kpsync.Sink.
func (s *fileSink) Read(t metaconfig.Type, name string) ([]byte, time.Time, error) {
	return s.volume(t).ReadLast(name)
}

// Adopt implements kpsync.Sink.
func (s *fileSink) Adopt(t metaconfig.Type, name string, e kpsync.Entry) {
	if err := s.volume(t).Adopt(name, newEntry(e)); err != nil {
		s.log.Error("a file that was served before can't be served before it is read again", "name", name, "error", err)
	}
	if hasDeciders(t, name) {
		if err := s.deciders.adopt(e); err != nil {
			s.deciders.log.Warn("the files of the deciders aren't as they should be; they are written again with the next version", "error", err)
		}
	}
}

// Disown implements kpsync.Sink.
func (s *fileSink) Disown(t metaconfig.Type, name string) {
	if hasDeciders(t, name) {
		if err := s.deciders.remove(); err != nil {
			s.deciders.log.Warn("the files of the deciders can't be removed; remove them by hand", "error", err)
		}
	}
	s.volume(t).Disown(name)
}

// Publish implements kpsync.Sink.
func (s *fileSink) Publish(t metaconfig.Type, name string, e kpsync.Entry) error {
	if s.worked != nil {
		defer s.worked()
	}
	if err := s.publish(s.volume(t), name, newEntry(e)); errors.Is(err, kpfs.ErrName) {
		return &store.Error{Op: "serving", Subject: name, Kind: store.Invalid, Err: err}
	} else if err != nil {
		return err
	}
	if hasDeciders(t, name) {
		return s.deciders.publish(e)
	}
	return nil
}

// publish does nothing if the very version is served already, as one is that was
// written through the mount.
func (s *fileSink) publish(v *kpfs.Volume, name string, e kpfs.Entry) error {
	if old, _, ok := v.Get(name); ok && e.Order != 0 && old.Order == e.Order && old.Version == e.Version && old.ModTime.Equal(e.ModTime) && bytes.Equal(old.Content, e.Content) {
		return nil
	}
	return v.Publish(name, e)
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
	return kpfs.Entry{Content: e.Content, ModTime: e.ModTime, Version: e.Version, ZKPath: e.ZKPath, Order: e.Order}
}
