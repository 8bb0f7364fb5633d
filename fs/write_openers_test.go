package fs

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// What several processes write to a file that one of them has opened is published
// once, as a whole: nobody is ever given a part.
func TestWriteByProcessesOfOneOpener(t *testing.T) {
	v, w := mountWritable(t, Config{})
	other := t.TempDir()
	for name, content := range map[string]string{"a": "one\n", "b": "two\n", "bad": "bad\n"} {
		check(t, os.WriteFile(filepath.Join(other, name), []byte(content), 0o600))
	}
	const whole = "one\ntwo\n"
	for _, c := range []struct{ name, script string }{
		{"a group of commands", `{ cat $O/a && cat $O/b; } > config`},
		{"a subshell", `(cat $O/a && cat $O/b) > config`},
		{"commands between builtins", `{ echo one; /bin/true; cat $O/b; } > config`},
		{"an open file", `exec 3> config; cat $O/a >&3; cat $O/b >&3; exec 3>&-`},
		{"a file that is opened once more", `exec 3> config; cat $O/a >&3; cat $O/b | tee -a /dev/fd/3 > /dev/null; exec 3>&-`},
		{"a wrapper of a command", `env timeout 60 cat $O/a $O/b > config`},
		{"another program in between", `/usr/bin/python3 -c '
import subprocess
with open("config", "wb", buffering=0) as f:
    f.write(b"one\n")
    subprocess.run(["true"], check=True)
    f.write(b"two\n")'`},
	} {
		t.Run(c.name, func(t *testing.T) {
			publish(t, v, "config", Entry{Content: []byte("old\n"), ModTime: testTime})
			if out, ok := sh(t, v.cfg.Dir, "O="+other+"\n"+c.script); !ok || out != "" {
				t.Errorf("it says %q, and succeeds: %v", out, ok)
			}
			wantFile(t, v, "config", whole)
			awaitReleased(t, v)
			if got := w.taken(); !slices.Equal(got, []string{"config=" + whole}) {
				t.Errorf("it publishes %q", got)
			}
		})
	}
	t.Run("a refused whole", func(t *testing.T) {
		if out, ok := sh(t, v.cfg.Dir, "O="+other+"\n{ cat $O/a && cat $O/bad; } > config"); !ok || out != "" {
			t.Errorf("a command is told of what isn't its own: %q", out)
		}
		awaitReleased(t, v)
		wantFile(t, v, "config", whole)
		if got := w.taken(); len(got) != 0 {
			t.Errorf("it publishes %q", got)
		}
	})
}

// If whoever has opened a file is gone, those to whom it has left it publish it.
func TestWriteByChildOfDeadOpener(t *testing.T) {
	v, w := mountWritable(t, Config{})
	publish(t, v, "config", Entry{Content: []byte("old\n"), ModTime: testTime})
	seen := filepath.Join(t.TempDir(), "seen")
	// The child has the file open still when what it has started is closed.
	cmd := exec.Command("bash", "-c", `exec 3> config 4<&0; { read -r <&4; /bin/echo new >&3; cat config; } > "$0" & exit 0`, seen)
	cmd.Dir = v.cfg.Dir
	in, out, err := os.Pipe()
	check(t, err)
	defer out.Close()
	cmd.Stdin = in
	check(t, cmd.Start())
	check(t, in.Close())
	check(t, cmd.Wait())
	_, err = io.WriteString(out, "\n")
	check(t, err)
	awaitReleased(t, v)
	got, err := os.ReadFile(seen)
	check(t, err)
	if string(got) != "new\n" {
		t.Errorf("at once the file holds %q", got)
	}
	if got := w.taken(); !slices.Equal(got, []string{"config=new\n"}) {
		t.Errorf("it publishes %q", got)
	}
}

// Nothing is lost if whoever has opened a file closes it before a child writes.
func TestWriteAfterOpenerHasClosed(t *testing.T) {
	v, w := mountWritable(t, Config{})
	publish(t, v, "config", Entry{Content: []byte("old\n"), ModTime: testTime})
	cmd := exec.Command("bash", "-c", `exec 3> config 4<&0; { read -r <&4; echo new >&3; } & exec 3>&-; echo closed; wait`)
	cmd.Dir = v.cfg.Dir
	stdin, err := cmd.StdinPipe()
	check(t, err)
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	_, err = io.ReadFull(stdout, make([]byte, len("closed\n")))
	check(t, err)
	_, err = io.WriteString(stdin, "\n")
	check(t, err)
	check(t, cmd.Wait())
	awaitReleased(t, v)
	wantFile(t, v, "config", "new\n")
	if got := w.taken(); !slices.Equal(got, []string{"config=new\n"}) {
		t.Errorf("it publishes %q", got)
	}
}
