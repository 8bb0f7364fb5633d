package main

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/kingpinfs/kingpin/admin"
	kpsync "github.com/kingpinfs/kingpin/sync"
)

// standIn answers admin requests while no worker can: the monitor isn't healthy,
// and why. The function that it returns ends that.
func (h *holder) standIn(why string, facts holderFacts) (end func()) {
	socket, err := h.listener.File()
	if err != nil {
		h.log.Error("answering admin requests without a worker", "error", err)
		return func() {}
	}
	defer socket.Close()
	listener, err := net.FileListener(socket)
	if err != nil {
		h.log.Error("answering admin requests without a worker", "error", err)
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := admin.New(admin.Config{
		Engine: noEngine{},
		Describe: func() admin.Status {
			return admin.Status{
				Mode: "plain", ModeReason: why, Problem: "no worker can be kept running: " + why,
				Version: version, HolderVersion: version, HolderPID: os.Getpid(), StartedAt: h.started,
				Restarts: facts.Restarts, LastExit: facts.LastExit,
				ConfigDir: h.options.ConfigDir, ServersetDir: h.options.ServersetDir,
				ZooKeeper: admin.ZooKeeperStatus{Error: "there is no worker to connect"},
			}
		},
		Kill:   func() { h.stop(nil) },
		Logger: h.log,
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Run(ctx, listener); err != nil {
			h.log.Error("answering admin requests without a worker", "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

var errNoWorker = errors.New("no worker can be kept running, and nothing is held back")

// noEngine is the sync engine while there is none.
type noEngine struct{}

// Snapshot implements admin.Engine.
func (noEngine) Snapshot() kpsync.Snapshot { return kpsync.Snapshot{} }

// Ready implements admin.Engine.
func (noEngine) Ready() <-chan struct{} { return nil }

// Stats implements admin.Engine.
func (noEngine) Stats() *kpsync.Stats { return new(kpsync.Stats) }

// Reread implements admin.Engine.
func (noEngine) Reread(string) bool { return false }

// Resync implements admin.Engine. The next worker reads everything anyway.
func (noEngine) Resync(time.Duration) {}

// AcceptServerset implements admin.Engine.
func (noEngine) AcceptServerset(string) error { return errNoWorker }
