package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/kingpinfs/kingpin/admin"
	kpfs "github.com/kingpinfs/kingpin/fs"
	kpsync "github.com/kingpinfs/kingpin/sync"
)

// announce says when everything that can be served is served.
func (w *worker) announce(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-w.engine.Ready():
	}
	err := w.link.control.send(message{Kind: sayReady, Ready: w.readyLine()})
	limitGarbage(garbageLater)
	w.memory.worked()
	return err
}

func (w *worker) readyLine() string {
	snapshot := w.engine.Snapshot()
	face, why := w.face()
	line := fmt.Sprintf("ready mode=%s configs=%d serversets=%d", face, countServed(snapshot.Configs), countServed(snapshot.Serversets))
	if why != "" && w.options.Mode != kpfs.Plain {
		line += " reason=" + strconv.Quote(why)
	}
	return line
}

func countServed(files []kpsync.FileStatus) int {
	n := 0
	for i := range files {
		if files[i].State != kpsync.Absent {
			n++
		}
	}
	return n
}

// face tells which face serves, and why it isn't FUSE. The volumes may differ
// after something happened to one of them; then the worse counts.
func (w *worker) face() (kpfs.Mode, string) {
	face, why := w.configs.Face()
	if other, otherWhy := w.serversets.Face(); face == kpfs.FUSE {
		return other, otherWhy
	}
	return face, why
}

// describe returns what the engine doesn't know.
func (w *worker) describe() admin.Status {
	face, why := w.face()
	zk, holder := w.zk.Status(), &w.hello.Holder
	status := admin.Status{
		Mode: face.String(), ModeReason: why, Version: version,
		// A part that dies takes the process with it (see serve), and for a dead
		// mount the plain files stand in: who can answer is healthy.
		Healthy:   true,
		HolderPID: holder.PID, HolderVersion: holder.Version, WorkerPID: os.Getpid(),
		StartedAt: holder.StartedAt, WorkerStarted: &w.started, Restarts: holder.Restarts, LastExit: holder.LastExit,
		ConfigDir: w.options.ConfigDir, ServersetDir: w.options.ServersetDir,
		ZooKeeper:    admin.ZooKeeperStatus{Connected: zk.Connected, Session: zk.Session, Server: zk.Server, Error: zk.LastError},
		FUSERequests: map[string]int64{}, Writes: w.writer.counts(),
	}
	if mode, _ := w.configs.Face(); mode == kpfs.FUSE {
		status.Writers = w.options.Writers.describe()
	}
	for _, volume := range w.volumes() {
		for operation, n := range volume.Requests() {
			status.FUSERequests[operation] += int64(n)
		}
		status.Mended = addMended(status.Mended, volume.Mended())
		if err := volume.CopyErr(); err != nil {
			status.Warnings = append(status.Warnings, err.Error())
		}
		if foreign := volume.Foreign(); len(foreign) > 0 {
			status.Warnings = append(status.Warnings, fmt.Sprintf(
				"%s holds files that aren't the monitor's: %q; they are left alone, move them away unless they belong there", volume.dir, abbreviate(foreign)))
		}
	}
	if warning := w.sink.deciders.warning(); warning != "" {
		status.Warnings = append(status.Warnings, warning)
	}
	return status
}

// addMended adds up what was mended in the volumes.
func addMended(all *admin.Mended, more kpfs.Mended) *admin.Mended {
	if more.Times == 0 {
		return all
	}
	sum := &admin.Mended{Times: int64(more.Times), Name: more.Name, At: more.At}
	if all != nil {
		sum.Times += all.Times
		if all.At.After(sum.At) {
			sum.Name, sum.At = all.Name, all.At
		}
	}
	return sum
}
