package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/managed"
	kpsync "github.com/kingpinfs/kingpin/sync"
)

// deciderConfig is the config that holds all deciders; see "Managed data" in
// docs/wire-format.md.
const deciderConfig = "config.manageddata.admin.decider"

// deciderDir is the directory beside the configs that has a file for each.
const deciderDir = "decider"

// deciderFiles keeps the files of the deciders in step with their config.
type deciderFiles struct {
	volume *kpfs.Volume
	log    *slog.Logger

	mu    sync.Mutex      // guards names
	names map[string]bool // of the files that there are, relative to the volume
}

// publish makes the files what the config says. A file whose value is as
// before stays as it is, so that its time changes when its value does. A config
// that isn't understood leaves them all as they are.
func (d *deciderFiles) publish(e kpsync.Entry) error {
	values, skipped, err := managed.ParseDecider(e.Content)
	if err != nil {
		d.log.Warn("the deciders aren't understood; their files stay as they were. Mend them with `kingpin config put "+deciderConfig+" FILE`", "error", err)
		return nil
	}
	if len(skipped) > 0 {
		d.log.Warn("deciders left out: they need lower-case names and integers from 0 to 100", "deciders", skipped)
	}
	wanted := map[string]bool{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		file := deciderDir + "/" + name
		wanted[file] = true
		errs = append(errs, d.publishOne(file, kpfs.Entry{
			Content: []byte(managed.RenderDeciderValue(values[name])), ModTime: e.ModTime, Version: e.Version, ZKPath: e.ZKPath,
		}))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for file := range d.names {
		if wanted[file] {
			continue
		}
		if err := d.volume.Remove(file); err != nil {
			wanted[file] = true // still there: the retry removes it
			errs = append(errs, err)
		}
	}
	d.names = wanted
	return errors.Join(errs...)
}

// adopt serves, as e says, what an earlier process left of the files. The
// directory is the monitor's alone: what else is in it belonged to deciders that
// are gone.
func (d *deciderFiles) adopt(e kpsync.Entry) error {
	values, _, err := managed.ParseDecider(e.Content)
	if err != nil {
		return fmt.Errorf("reading %s: %w", deciderConfig, err)
	}
	for name, value := range values {
		file := deciderDir + "/" + name
		content, info, err := d.volume.ReadPlain(file)
		if err == nil && string(content) == managed.RenderDeciderValue(value) {
			d.volume.Adopt(file, kpfs.Entry{Content: content, ModTime: info.ModTime(), Version: e.Version, ZKPath: e.ZKPath})
		}
	}
	errs := []error{d.publish(e)}
	for _, file := range d.volume.Foreign() {
		if strings.HasPrefix(file, deciderDir+"/") {
			errs = append(errs, d.volume.Remove(file))
		}
	}
	return errors.Join(errs...)
}

func (d *deciderFiles) publishOne(file string, e kpfs.Entry) error {
	old, _, ok := d.volume.Get(file)
	if ok && bytes.Equal(old.Content, e.Content) {
		return nil
	}
	return d.volume.Publish(file, e)
}

func (d *deciderFiles) remove() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for file := range d.names {
		if err := d.volume.Remove(file); err != nil {
			return err
		}
		delete(d.names, file)
	}
	return nil
}

func (d *deciderFiles) setStatus(status kpfs.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for file := range d.names {
		d.volume.SetStatus(file, status)
	}
}
