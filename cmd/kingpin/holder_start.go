package main

import (
	"context"
	"fmt"
	"os"
)

// startWorker starts a worker that inherits all that is held, and tells it what
// to do.
func (s *supervisor) startWorker(ctx context.Context) (*process, error) {
	if s.started {
		s.hello.Holder.Restarts++
	}
	s.started = true
	h, files, err := s.handOut()
	if err != nil {
		closeAll(files)
		return nil, err
	}
	w, err := s.startInTime(ctx, files)
	if err != nil {
		return nil, err
	}
	s.log.Debug("a worker has been started", "pid", w.Pid, "path", w.path)
	if err := w.control.send(message{Kind: sayHello, Hello: &h}); err != nil {
		s.log.Debug("the worker can't be told what to do", "pid", w.Pid, "error", err) // it is dead
	}
	return w, nil
}

// handOut returns what a worker is told, and copies of what it inherits beside
// the listener.
func (s *supervisor) handOut() (h hello, files []*os.File, err error) {
	h = s.hello
	h.Volumes = map[string]heldVolume{}
	for _, v := range s.volumes {
		if h.Volumes[v.name], files, err = v.describe(files, listenerNumber+1); err != nil {
			return h, files, err
		}
	}
	return h, files, nil
}

// startInTime starts a worker, and closes the files. Starting may hang, as when
// the program lies on a filesystem that does; readers don't wait for that longer
// than for a worker that doesn't serve.
func (s *supervisor) startInTime(ctx context.Context, files []*os.File) (*process, error) {
	type result struct {
		worker *process
		err    error
	}
	started := make(chan result, 1)
	go func() {
		defer closeAll(files)
		w, err := startProcess(s.program, s.stderr, s.log, append([]*os.File{s.listener}, files...)...)
		started <- result{w, err}
	}()
	late := newAlarm()
	defer late.stop()
	if s.isWaitedFor() {
		late.at(s.served.Add(s.pace.serve))
	}
	var err error
	select {
	case r := <-started:
		return r.worker, r.err
	case <-late.c():
		err = fmt.Errorf("starting a worker takes longer than %v", s.pace.serve)
	case <-ctx.Done():
		err = ctx.Err()
	}
	go func() {
		if r := <-started; r.worker != nil {
			r.worker.kill()
			r.worker.leave()
		}
	}()
	return nil, err
}

func closeAll(files []*os.File) {
	for _, file := range files {
		_ = file.Close() // copies
	}
}
