package fs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sh runs a shell in a directory, and returns what it and its commands print, and
// whether the last one succeeded.
func sh(t testing.TB, dir, script string) (out string, ok bool) {
	t.Helper()
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = dir
	b, err := cmd.CombinedOutput()
	return strings.TrimRight(string(b), "\n"), err == nil
}

// Every tool by which people and programs write files does it, or is told that
// what it writes is refused, and then nothing has changed.
func TestWriteByTools(t *testing.T) {
	v, w := mountWritable(t, Config{})
	other := t.TempDir()
	const big = 3_000_000
	for name, content := range map[string]string{
		"new": "new\n", "bad": "bad\n", "50": "50\n", "500": "500\n", "big": strings.Repeat("big\n", big/4),
	} {
		check(t, os.WriteFile(filepath.Join(other, name), []byte(content), 0o600))
	}
	for _, c := range []struct {
		name, script string
		file, want   string // what a file holds afterwards; "-" if there is none
		refused      bool
	}{
		{"echo", "echo new > config", "config", "new\n", false},
		{"echo, refused", "echo bad > config && cat config", "config", "old\n", false}, // shells lose the error of close
		{"echo of a decider", "echo 50 > decider/x", "decider/x", "50\n", false},
		{"echo of a decider, refused", "echo 500 > decider/x", "decider/x", "1\n", true},
		{"echo of a decider that isn't a number", "echo x > decider/x", "decider/x", "1\n", true},
		{"echo of another config", "echo new > config2", "config2", "new\n", false},
		{"echo of another decider", "echo 7 > decider/y", "decider/y", "7\n", false},
		{"echo of a decider in upper case", "echo 7 > decider/Y", "decider/Y", "-", true},
		{"echo of no config", "echo new > other", "other", "-", true},
		{"append", "echo new >> config", "config", "old\nnew\n", false},
		{"append, refused", "echo bad >> config", "config", "old\n", true},
		{"append to another", "echo new >> config3", "config3", "new\n", false},
		{"append to a decider", "printf 0 >> decider/z; cat decider/z", "decider/z", "10", false},
		{"dd conv=notrunc to a decider", "printf '5\\n' | dd of=decider/h conv=notrunc status=none", "decider/h", "5\n", false},
		{"dd conv=notrunc to a decider, refused", "printf 500 | dd of=decider/h conv=notrunc status=none", "decider/h", "100\n", true},
		{"python in place to a decider", `/usr/bin/python3 -c 'f=open("decider/h","r+"); f.read(); f.seek(0); f.write("5\n"); f.truncate(); f.close()'`, "decider/h", "5\n", false},
		{"python in place to a decider, in parts", `/usr/bin/python3 -c 'import os; f=os.open("decider/h",2); os.write(f,b"5"); os.write(f,b"0\n")'`, "decider/h", "50\n", false},
		{"append to a decider, refused", "printf 000 >> decider/z", "decider/z", "1", true},
		{"tee", "echo new | tee config", "config", "new\n", false},
		{"tee, refused", "echo bad | tee config", "config", "old\n", true},
		{"tee -a", "echo new | tee -a config", "config", "old\nnew\n", false},
		{"cp", "cp $O/new config", "config", "new\n", false},
		{"cp, refused", "cp $O/bad config", "config", "old\n", true},
		{"cp -a", "cp -a $O/new config", "config", "new\n", false},
		{"cp -p", "cp -p $O/new config", "config", "new\n", false},
		{"cp of megabytes", "cp $O/big config && cmp $O/big config", "", "", false},
		{"cp to a new one", "cp $O/new config4", "config4", "new\n", false},
		{"cp to a new one, refused", "cp $O/bad config5", "config5", "-", true},
		{"cp of megabytes to a new one", "cp $O/big config6 && cmp $O/big config6", "", "", false},
		{"cp -p to a new one", "cp -p $O/new config7", "config7", "new\n", false},
		{"cp of a decider", "cp $O/50 decider/x", "decider/x", "50\n", false},
		{"cp of a decider, refused", "cp $O/500 decider/x", "decider/x", "1\n", true},
		{"cp to a new decider", "cp $O/50 decider/a", "decider/a", "50\n", false},
		{"cp --remove-destination", "cp --remove-destination $O/new config", "config", "new\n", false},
		{"cat", "cat $O/big > config && cmp $O/big config", "", "", false},
		{"install", "install $O/new config", "config", "new\n", false},
		{"install -m", "install -m 644 $O/new config", "config", "new\n", false},
		{"install, refused", "install $O/bad config", "config", "old\n", true},
		{"install of a decider", "install $O/50 decider/x", "decider/x", "50\n", false},
		{"install of a decider, refused", "install $O/500 decider/x", "decider/x", "1\n", true},
		{"install of a new one", "install -m 600 $O/new config8", "config8", "new\n", false},
		{"install of megabytes", "install $O/big config && cmp $O/big config", "", "", false},
		{"mv", "T=$(mktemp -p .) && echo new > $T && mv $T config && ! test -e $T", "config", "new\n", false},
		{"mv, refused", "T=$(mktemp -p .); echo bad > $T; mv $T config; R=$?; rm $T && exit $R", "config", "old\n", true},
		{"mv of a hidden file", "echo new > .t && mv .t config", "config", "new\n", false},
		{"mv of a decider", "echo 50 > x.tmp && mv x.tmp decider/x", "decider/x", "50\n", false},
		{"mv of a decider, refused", "echo 500 > .t; mv .t decider/x; R=$?; rm .t; exit $R", "decider/x", "1\n", true},
		{"mv to what is no config", "echo new > .t; mv .t other; R=$?; rm .t; exit $R", "other", "-", true},
		{"mv to a new one", "echo new > .t && mv .t config9", "config9", "new\n", false},
		{"mv from elsewhere", "cp $O/new $O/m && mv $O/m config && ! test -e $O/m", "config", "new\n", false},
		{"mv from elsewhere, refused", "cp $O/bad $O/m; mv $O/m config; R=$?; test -e $O/m && exit $R", "config", "old\n", true},
		{"mv of megabytes from elsewhere", "cp $O/big $O/m && mv $O/m config && cmp $O/big config", "", "", false},
		{"mv of a decider from elsewhere", "cp $O/50 $O/m && mv $O/m decider/x", "decider/x", "50\n", false},
		{"mv of a config", "mv config config10", "config", "old\n", true},
		{"mv of a config elsewhere", "mv config $O/gone; true", "config", "old\n", false},
		{"sed -i", "sed -i s/old/new/ config", "config", "new\n", false},
		{"sed -i, refused", "sed -i s/old/bad/ config", "config", "old\n", true},
		{"sed -i.bak", "sed -i.bak s/old/new/ config && cat config.bak && rm config.bak", "config", "new\n", false},
		{"sed -i of a decider", "sed -i s/1/50/ decider/x", "decider/x", "50\n", false},
		{"perl -i", "perl -i -pe s/old/new/ config", "config", "new\n", false},
		{"python's open", `/usr/bin/python3 -c 'open("config","w").write("new\n")'`, "config", "new\n", false},
		{"python's open, refused", `/usr/bin/python3 -c 'f=open("config","w"); f.write("bad\n"); f.close()'`, "config", "old\n", true},
		{"python's open of a decider, refused", `/usr/bin/python3 -c 'f=open("decider/x","w"); f.write("500"); f.close()'`, "decider/x", "1\n", true},
		{"python in place", `/usr/bin/python3 -c 'f=open("config","r+"); f.write("new"); f.close()'`, "config", "new\n", false},
		{"python in place, refused", `/usr/bin/python3 -c 'f=open("config","r+"); f.write("bad"); f.close()'`, "config", "old\n", true},
		{"python reading and writing", `/usr/bin/python3 -c 'f=open("config","r+"); s=f.read(); f.write(s); f.close()'`, "config", "old\nold\n", false},
		{"python's replace", `/usr/bin/python3 -c 'import os,tempfile; fd,p=tempfile.mkstemp(dir="."); os.write(fd,b"new\n"); os.close(fd); os.replace(p,"config")'`, "config", "new\n", false},
		{"dd", "dd if=$O/new of=config status=none", "config", "new\n", false},
		{"dd, refused", "dd if=$O/bad of=config status=none", "config", "old\n", true},
		{"dd conv=notrunc", "printf n | dd of=config conv=notrunc status=none", "config", "nld\n", false},
		{"dd conv=notrunc, refused", "printf bad | dd of=config conv=notrunc status=none", "config", "old\n", true},
		{"dd seek conv=notrunc", "printf ZZ | dd of=config bs=1 seek=1 conv=notrunc status=none", "config", "oZZ\n", false},
		{"truncate", "truncate -s 2 config", "config", "ol", false},
		{"truncate to nothing", "truncate -s 0 config", "config", "", false},
		{"truncate of a decider to nothing", "truncate -s 0 decider/x", "decider/x", "1\n", true},
		{"truncate to more", "truncate -s 6 config", "config", "old\n\x00\x00", false},
		{"truncate to a gigabyte", "truncate -s 1G config", "config", "old\n", true},
		{"truncate of a new one", "truncate -s 2 config11", "config11", "\x00\x00", false},
		{"truncate(2)", `/usr/bin/python3 -c 'import os; os.truncate("config",2)'`, "config", "ol", false},
		{"truncate(2), a gigabyte", `/usr/bin/python3 -c 'import os; os.truncate("config",1<<30)'`, "config", "old\n", true},
		{"one shell's commands", "(echo a; /bin/echo b) > config", "config", "a\nb\n", false},
		{"vim", "vim -u NONE -es -c s/old/new/ -c wq config </dev/null", "config", "new\n", false},
		{"vim in place", "vim -u NONE -es -c 'set backupcopy=yes' -c s/old/new/ -c wq config </dev/null", "config", "new\n", false},
		{"vim with a backup", "vim -u NONE -es -c 'set backup backupskip=' -c s/old/new/ -c wq config </dev/null && cat config~ && rm config~", "config", "new\n", false},
		{"vim, refused", "vim -u NONE -es -c s/old/bad/ -c wq config </dev/null", "config", "old\n", true},
		{"vim of a decider", "vim -u NONE -es -c s/1/50/ -c wq decider/x </dev/null", "decider/x", "50\n", false},
		{"vim of a new one", "vim -u NONE -es -c 'normal inew' -c wq config12 </dev/null", "config12", "new\n", false},
		{"rm of a config", "rm config", "config", "old\n", true},
		{"rm -f of a config", "rm -f config", "config", "old\n", true},
		{"rm of a decider", "rm decider/x", "decider/x", "-", false},
		{"touch of a config", "touch config", "config", "old\n", false},
		{"chmod", "chmod 600 config", "config", "old\n", true},
		{"chmod to what it is", "chmod 644 config", "config", "old\n", false},
		{"chown", "chown 4242 config", "config", "old\n", true},
		{"mkdir", "mkdir dir", "dir", "-", true},
		{"ln", "ln config config-link", "config-link", "-", true},
		{"ln -s", "ln -s config config-link", "config-link", "-", true},
		{"mkfifo", "mkfifo fifo", "fifo", "-", true},
		{"rmdir", "rmdir decider", "config", "old\n", true},
		{"an exchange", `/usr/bin/python3 -c 'import ctypes,os,sys; sys.exit(ctypes.CDLL(None).renameat2(-100,b"config",-100,b"decider/x",2) != 0)'`, "config", "old\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			publish(t, v, "config", Entry{Content: []byte("old\n"), ModTime: testTime})
			publish(t, v, "decider/x", Entry{Content: []byte("1\n"), ModTime: testTime})
			publish(t, v, "decider/h", Entry{Content: []byte("100\n"), ModTime: testTime})
			publish(t, v, "decider/z", Entry{Content: []byte("1"), ModTime: testTime})
			out, ok := sh(t, v.cfg.Dir, "O="+other+"\n"+c.script)
			if ok == c.refused {
				t.Errorf("it succeeds: %v\n%s", ok, out)
			}
			t.Log(out, w.taken())
			if c.file != "" {
				got, err := os.ReadFile(filepath.Join(v.cfg.Dir, c.file))
				if err != nil && c.want != "-" || err == nil && string(got) != c.want {
					t.Errorf("%s holds %.40q, %v, want %q", c.file, got, err, c.want)
				}
			}
		})
	}
	for _, dir := range []string{"", "decider"} {
		for _, name := range listDir(t, filepath.Join(v.cfg.Dir, dir)) {
			if _, _, served := v.Get(filepath.Join(dir, name)); !served && name != "decider" {
				t.Errorf("%q is left behind", filepath.Join(dir, name))
			}
		}
	}
}
