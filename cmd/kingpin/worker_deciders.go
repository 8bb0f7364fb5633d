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
	"sync/atomic"

	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/managed"
	kpsync "github.com/kingpinfs/kingpin/sync"
)

// deciderConfig is the config that holds all deciders; see "Managed data" in
// docs/wire-format.md.
const deciderConfig = "config.manageddata.admin.decider"

// deciderDir is the directory beside the configs that has a file for each.
const deciderDir = "decider"

// deciderFiles keeps the files of the deciders in step with their config. Its
// methods but setStatus and warning are called one at a time.
type deciderFiles struct {
	volume *kpfs.Volume
	log    *slog.Logger
	// written is the order of the newest config that this machine has published by
	// one of the files.
	written atomic.Int64

	// mu guards the rest. It isn't held while the volume is changed: that waits for
	// whoever renames a file in the directory, who may wait for the engine, which
	// is locked while it sets a status.
	mu      sync.Mutex
	names   map[string]bool // of the files that there are, relative to the volume
	problem string          // what is wrong with the config; "" if nothing is
}

// deciderAdvice is how what is wrong with the deciders is mended.
const deciderAdvice = "; mend it with: kingpin config put " + deciderConfig + " FILE"

// publish makes the files what the config says. A file whose value is as
// before stays as it is, so that its time changes when its value does. A config
// that isn't understood leaves them all as they are, and a decider with a bad
// value leaves its own.
func (d *deciderFiles) publish(e kpsync.Entry) error {
	values, skipped, err := managed.ParseDecider(e.Content)
	d.complain(err, skipped)
	if err != nil {
		return nil
	}
	served, wanted := d.served(), map[string]bool{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if d.isOvertaken(e.Order) {
			break
		}
		file := deciderDir + "/" + name
		wanted[file] = true
		errs = append(errs, d.publishOne(file, kpfs.Entry{
			Content: []byte(managed.RenderDeciderValue(values[name])), ModTime: e.ModTime, Version: e.Version, ZKPath: e.ZKPath, Order: e.Order,
		}))
	}
	for _, bad := range skipped {
		if file := deciderDir + "/" + bad.Name; served[file] {
			wanted[file] = true // with the last good value
		}
	}
	for file := range served {
		if wanted[file] {
			continue
		}
		if d.isOvertaken(e.Order) {
			wanted[file] = true // as far as is known here: the newer config decides
			continue
		}
		if err := d.volume.Remove(file); err != nil {
			wanted[file] = true // still there: the retry removes it
			errs = append(errs, err)
		}
	}
	d.setServed(wanted)
	return errors.Join(errs...)
}

func (d *deciderFiles) served() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.names)
}

func (d *deciderFiles) setServed(names map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names = names
}

// note tells of a config that this machine has published by one of the files. What
// is in the middle of publishing an older one stops, or it would take back what
// has been written.
func (d *deciderFiles) note(order int64) {
	for was := d.written.Load(); was < order && !d.written.CompareAndSwap(was, order); was = d.written.Load() {
		continue
	}
}

// isOvertaken reports whether a config is older than one that this machine has
// published by one of the files.
func (d *deciderFiles) isOvertaken(order int64) bool { return order != 0 && order < d.written.Load() }

// complain says what is wrong with the config, if that is news, and keeps it for
// the status.
func (d *deciderFiles) complain(err error, skipped []managed.BadDecider) {
	problem := ""
	switch {
	case err != nil:
		problem = fmt.Sprintf("%s isn't understood, and the files of the deciders stay as they were: %v%s", deciderConfig, err, deciderAdvice)
	case len(skipped) > 0:
		var all []string
		for _, bad := range skipped {
			all = append(all, bad.String())
		}
		problem = fmt.Sprintf("%s holds what is no decider, which needs a lower-case name and an integer from 0 to %d, and is left out: %s%s",
			deciderConfig, managed.MaxDecider, strings.Join(abbreviate(all), ", "), deciderAdvice)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if problem != "" && problem != d.problem {
		d.log.Warn(problem)
	}
	d.problem = problem
}

// warning returns what is wrong with the deciders now; "" if nothing is.
func (d *deciderFiles) warning() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.problem
}

// adopt serves, as e says, what an earlier process left of the files. The
// directory is the monitor's alone: what else is in it belonged to deciders that
// are gone, unless e doesn't tell.
func (d *deciderFiles) adopt(e kpsync.Entry) error {
	values, skipped, err := managed.ParseDecider(e.Content)
	bad := map[string]bool{}
	for _, b := range skipped {
		bad[deciderDir+"/"+b.Name] = true
	}
	var errs []error
	for _, file := range d.volume.Foreign() {
		name, ours := strings.CutPrefix(file, deciderDir+"/")
		if !ours {
			continue
		}
		value, wanted := values[name]
		content, modTime, readErr := d.volume.ReadLast(file)
		switch {
		case readErr == nil && (err != nil || bad[file] || wanted && string(content) == managed.RenderDeciderValue(value)):
			d.keep(file, kpfs.Entry{Content: content, ModTime: modTime, Version: e.Version, ZKPath: e.ZKPath, Order: e.Order})
		case !wanted:
			errs = append(errs, d.volume.Remove(file))
		}
	}
	return errors.Join(append(errs, d.publish(e))...)
}

// keep serves what lies in a file's place.
func (d *deciderFiles) keep(file string, e kpfs.Entry) {
	if err := d.volume.Adopt(file, e); err != nil {
		d.log.Error("a decider's file that was served before can't be served before it is read again", "name", file, "error", err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names == nil {
		d.names = map[string]bool{}
	}
	d.names[file] = true
}

func (d *deciderFiles) publishOne(file string, e kpfs.Entry) error {
	old, _, ok := d.volume.Get(file)
	if ok && bytes.Equal(old.Content, e.Content) {
		return nil
	}
	return d.volume.Publish(file, e)
}

func (d *deciderFiles) remove() error {
	served := d.served()
	defer func() { d.setServed(served) }()
	for file := range served {
		if err := d.volume.Remove(file); err != nil {
			return err
		}
		delete(served, file)
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
