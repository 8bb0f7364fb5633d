package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The walk's own config.
const (
	walkConfig = "config.manageddata.demo.greeting"
	walkLimit  = 10 * time.Second // for a change to show, on a machine that does much else
	walkPoll   = time.Millisecond
)

// walker shows the main job step by step. The first step that doesn't hold ends
// it with an error.
type walker struct {
	app   *app
	fleet *devFleet
	err   error
}

// walk runs the commands that it prints, in this process, and looks at the
// files as any reader would.
func (a *app) walk(ctx context.Context, fleet *devFleet) error {
	w := &walker{app: a, fleet: fleet}
	config := filepath.Join(fleet.options.ConfigDir, walkConfig)
	members := filepath.Join(fleet.options.ServersetDir, "discovery.demo.prod")
	decider := filepath.Join(fleet.options.ConfigDir, deciderDir, "new_feed")

	w.say("A new config, for all machines that have the dependency dev.dep:")
	w.run(ctx, "", "metaconfig", "create-config", "demo", "greeting")
	w.run(ctx, "", "dependency", "add", devDependency, walkConfig)
	w.run(ctx, `["hello"]`, "config", "put", walkConfig, "-", "--comment", "first words")
	w.expect(ctx, config, `["hello"]`)

	w.say("Change it. Every machine's file follows; whoever has it open keeps what was opened:")
	w.keepsOpen(ctx, config, `["hello"]`, func() {
		w.run(ctx, `["hello", "world"]`, "config", "put", walkConfig, "-")
		w.expect(ctx, config, `["hello", "world"]`)
	})
	w.run(ctx, "", "config", "history", walkConfig)

	w.setDecider(ctx, decider)

	w.say("A server joins the serverset:")
	w.do(func() error { return fleet.register(ctx, "127.0.0.1:8003") })
	w.expect(ctx, members, "127.0.0.1:8001\n127.0.0.1:8002\n127.0.0.1:8003\n")

	w.say("ZooKeeper and S3 go away. What was served stays:")
	w.do(func() error { return errors.Join(fleet.zookeeper.Stop(ctx), fleet.s3.Stop()) })
	w.expect(ctx, config, `["hello", "world"]`)
	w.expect(ctx, decider, "80\n")

	w.say("They come back, and changes go on arriving:")
	w.do(func() error { return errors.Join(fleet.zookeeper.Restart(ctx), fleet.s3.Restart(ctx)) })
	w.run(ctx, `["welcome back"]`, "config", "put", walkConfig, "-", "--wait")
	w.expect(ctx, config, `["welcome back"]`)

	w.say("Take the config out of the dependency, and it goes:")
	w.run(ctx, "", "dependency", "remove", devDependency, walkConfig)
	w.expectGone(ctx, config)

	if w.err != nil {
		return fmt.Errorf("the walk ended early: %w", w.err)
	}
	w.say("All steps held.")
	return nil
}

// setDecider shows that a decider is a file, which sets it where the mount can be
// written.
func (w *walker) setDecider(ctx context.Context, path string) {
	if !w.fleet.writable {
		w.say("A decider is a file too:")
		w.run(ctx, `{"new_feed": 80}`, "config", "put", deciderConfig, "-")
		w.expect(ctx, path, "80\n")
		return
	}
	w.say("A decider is a file too. Write it, and the whole fleet has it; what isn't valid is refused:")
	w.shell(ctx, "echo 80 > "+path, "")
	w.expect(ctx, path, "80\n")
	w.run(ctx, "", "decider", "get", filepath.Base(path))
	w.shell(ctx, "echo 800 > "+path, "Invalid argument")
	w.expect(ctx, path, "80\n")
}

func (w *walker) say(text string) {
	if w.err == nil {
		fmt.Fprintf(w.app.stdout, "\n# %s\n", text)
	}
}

func (w *walker) do(step func() error) {
	if w.err == nil {
		w.err = step()
	}
}

// run prints and executes a command, with the text as its standard input.
func (w *walker) run(ctx context.Context, input string, args ...string) {
	w.do(func() error {
		line := "kingpin"
		for _, arg := range args {
			if strings.ContainsAny(arg, " '") {
				arg = shellQuote(arg)
			}
			line += " " + arg
		}
		if input != "" {
			line = "echo '" + input + "' | " + line
		}
		fmt.Fprintf(w.app.stdout, "$ %s\n", line)
		if code := execute(ctx, args, strings.NewReader(input), w.app.stdout, w.app.stderr); code != exitDone {
			return fmt.Errorf("%q: exit code %d", line, code)
		}
		return nil
	})
}

// shell prints and runs a line as anybody would type it. It must succeed, or, if
// there is a reason, fail for that.
func (w *walker) shell(ctx context.Context, line, reason string) {
	w.do(func() error {
		fmt.Fprintf(w.app.stdout, "$ %s\n", line)
		output, err := exec.CommandContext(ctx, "bash", "-c", line).CombinedOutput()
		fmt.Fprintf(w.app.stdout, "%s", output)
		if failed := reason != ""; failed != (err != nil) || !strings.Contains(string(output), reason) {
			return fmt.Errorf("%q: it ended with %w and said %q, which isn't %q", line, err, output, reason)
		}
		return nil
	})
}

// expect waits until a file has a content, and says how long that took.
func (w *walker) expect(ctx context.Context, path, want string) {
	w.await(ctx, path, fmt.Sprintf("%q", want), func(content []byte, err error) bool {
		return err == nil && string(content) == want
	})
	if w.err == nil {
		fmt.Fprintln(w.app.stdout, strings.TrimSuffix(want, "\n"))
	}
}

func (w *walker) expectGone(ctx context.Context, path string) {
	w.await(ctx, path, "no file", func(_ []byte, err error) bool { return errors.Is(err, iofs.ErrNotExist) })
	if w.err == nil {
		fmt.Fprintln(w.app.stdout, "cat: No such file or directory")
	}
}

func (w *walker) await(ctx context.Context, path, want string, holds func([]byte, error) bool) {
	w.do(func() error {
		fmt.Fprintf(w.app.stdout, "$ cat %s", path)
		start := time.Now()
		for {
			content, err := os.ReadFile(path)
			if holds(content, err) {
				break
			}
			if time.Since(start) > walkLimit {
				fmt.Fprintln(w.app.stdout)
				return fmt.Errorf("%s holds %q (%w) after %v, not %s", path, content, err, walkLimit, want)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(walkPoll):
			}
		}
		if waited := time.Since(start).Round(time.Millisecond); waited > 0 {
			fmt.Fprintf(w.app.stdout, "    # %v later", waited)
		}
		fmt.Fprintln(w.app.stdout)
		return nil
	})
}

// keepsOpen holds a file open while it changes, and checks that what was opened
// can still be read.
func (w *walker) keepsOpen(ctx context.Context, path, want string, change func()) {
	if w.err != nil || ctx.Err() != nil {
		return
	}
	file, err := os.Open(path)
	if err != nil {
		w.err = err
		return
	}
	defer file.Close()
	change()
	w.do(func() error {
		content := make([]byte, len(want)+1)
		n, err := file.ReadAt(content, 0)
		if !bytes.Equal(content[:n], []byte(want)) {
			return fmt.Errorf("%s, opened before the change, reads %q (%w), not %q", path, content[:n], err, want)
		}
		return nil
	})
}
