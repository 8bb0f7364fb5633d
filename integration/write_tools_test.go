package integration

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tool is a program that people write files with: a shell script that writes $F,
// in the directory $D. It takes the new content from the file $SRC, or changes
// $FROM to $TO, or appends $TAIL. $W is a directory on another filesystem.
type tool struct {
	name, script string
	// silent: it doesn't look at what closing the file says, and so can't tell that
	// the whole was refused; only what is refused at a write.
	silent bool
	// mute: it writes nothing, so that it can't be told anything.
	mute bool
	// most is how many versions it may publish where it does in several steps what
	// others do in one; 0 is one.
	most int
	// chmods: it changes the file's mode in the end, as only the file's owner, root,
	// may: others are told that they can't, and have published.
	chmods bool
}

// wholeTools write a content that they have as a whole.
var wholeTools = []tool{
	{name: "echo", script: `echo "$(cat "$SRC")" > "$F"`, silent: true},
	{name: "subshell", script: `(read -r a < "$SRC"; printf %s "${a:0:5}"; echo "${a:5}") > "$F"`, silent: true},
	{name: "subshell of commands", script: `(head -c 5 "$SRC" && tail -c +6 "$SRC") > "$F"`, silent: true},
	{name: "cat", script: `cat "$SRC" > "$F"`},
	{name: "cp", script: `cp "$SRC" "$F"`},
	{name: "tee", script: `tee "$F" < "$SRC" > /dev/null`},
	{name: "dd", script: `dd if="$SRC" of="$F" bs=64k status=none`},
	{name: "python w", script: `/usr/bin/python3 -c 'import sys
with open(sys.argv[2]) as src, open(sys.argv[1], "w") as f: f.write(src.read())' "$F" "$SRC"`},
	{name: "python shutil", script: `/usr/bin/python3 -c 'import shutil, sys
shutil.copyfile(sys.argv[2], sys.argv[1])' "$F" "$SRC"`},
	{name: "flock", script: `flock "$F" cp "$SRC" "$F"`},
	// These two take the old file away before they make the new one.
	{name: "install", script: `install -m 664 "$SRC" "$F"`, most: 2, chmods: true},
	{name: "mv from another filesystem", script: `rm -f "$W/moved" && cp "$SRC" "$W/moved" && mv -f "$W/moved" "$F"`, most: 2},
	{name: "mv in the directory", script: `t=$(mktemp "$D/.tmp.XXXXXX") && trap 'rm -f "$t"' EXIT && cat "$SRC" > "$t" && mv -f "$t" "$F"`},
	{name: "rsync", script: `rsync "$SRC" "$F"`},
}

// editTools change a part of a content.
var editTools = []tool{
	{name: "sed -i", script: `sed -i "s/$FROM/$TO/" "$F"`},
	{name: "perl -i", script: `perl -i -pe "s/$FROM/$TO/" "$F"`},
	{name: "vim", script: `"$(command -v vim || command -v vim.tiny)" -u NONE -es -c "%s/$FROM/$TO/" -c wq "$F" < /dev/null`, most: 2},
	{name: "python r+", script: `/usr/bin/python3 -c 'import sys
path, old, new = sys.argv[1:]
with open(path, "r+") as f:
    text = f.read().replace(old, new)
    f.seek(0)
    f.write(text)
    f.truncate()' "$F" "$FROM" "$TO"`},
}

// patchTool overwrites bytes that are as many before as after.
var patchTool = tool{name: "dd conv=notrunc", script: `printf %s "$TO" | dd of="$F" bs=2 seek="$AT" oflag=seek_bytes conv=notrunc status=none`}

// appendTools append. What a shell does is to write line by line, which are two
// here; each is appended by itself. So does tee, if it reads the first before the
// second is there.
var appendTools = []tool{
	{name: ">>", script: `printf "%b" "$TAIL" >> "$F"`, silent: true, most: 2},
	{name: "tee -a", script: `set -o pipefail; printf "%b" "$TAIL" | tee -a "$F" > /dev/null`, most: 2},
}

// target is a file to write, with a content that it begins with.
type target struct {
	name, zkPath string
	start        string
	publish      func(s *writeScene)
	// each: each write is a content by itself, so that even a shell is told what
	// is refused.
	each bool
	// from stands in start, and is changed to what is accepted or rejected.
	from, accepted, rejected string
}

// text returns the content in which something else stands.
func (g *target) text(to string) string { return strings.Replace(g.start, g.from, to, 1) }

// row is one tool's use.
type row struct {
	tool
	env  []string
	want string // the content afterwards; "" if it is to be refused
}

// rows returns the uses of all tools that make sense for a target: with a content
// that is accepted, and with one that isn't.
func (g *target) rows(s *writeScene) []row {
	var all []row
	source := func(name, text string) string {
		path := filepath.Join(s.work, name)
		mustWrite(s.t, path, text)
		return "SRC=" + path
	}
	good, bad := source("good", g.text(g.accepted)), source("bad", g.text(g.rejected))
	for _, tool := range wholeTools {
		if g.each && strings.HasPrefix(tool.name, "subshell") {
			continue // what it writes first would be a content
		}
		all = append(all, row{tool, []string{good}, g.text(g.accepted)}, row{tool, []string{bad}, ""})
	}
	for _, tool := range editTools {
		all = append(all,
			row{tool, []string{"FROM=" + g.from, "TO=" + g.accepted}, g.text(g.accepted)},
			row{tool, []string{"FROM=" + g.from, "TO=" + g.rejected}, ""})
	}
	at := fmt.Sprintf("AT=%d", strings.Index(g.start, g.from))
	all = append(all,
		row{patchTool, []string{at, "TO=" + g.accepted}, g.text(g.accepted)},
		row{patchTool, []string{at, "TO=xx"}, ""},
		row{tool{name: ": >", script: `: > "$F"`, mute: true}, nil, ""},
		row{tool{name: "truncate -s 0", script: `truncate -s 0 "$F"`, mute: true}, nil, ""})
	for _, tool := range appendTools {
		all = append(all, row{tool, []string{"TAIL=x"}, ""})
		if !g.each { // to a decider's line nothing can be added
			all = append(all, row{tool, []string{`TAIL=\n\n`}, g.start + "\n\n"})
		}
	}
	if !g.each {
		shorter := g.start[:len(g.start)-1]
		all = append(all,
			row{tool{name: "truncate -s N", script: fmt.Sprintf(`truncate -s %d "$F"`, len(shorter))}, nil, shorter},
			row{tool{name: "truncate -s 5", script: `truncate -s 5 "$F"`}, nil, ""})
		// As large as configs get.
		big := strings.Repeat("x", 3_000_000)
		large := func(limit string) string { return fmt.Sprintf(`{"limit": %s, "pad": %q}`, limit, big) }
		good, bad := source("large", large(g.accepted)), source("large.bad", large(g.rejected))
		for _, tool := range wholeTools {
			if slices.Contains([]string{"cp", "cat", "dd", "mv from another filesystem"}, tool.name) {
				tool.name += " of 3 MB"
				all = append(all, row{tool, []string{good}, large(g.accepted)}, row{tool, []string{bad}, ""})
			}
		}
	}
	return all
}

// Whatever people write files with: what is valid is published, once, by whoever
// may, and everybody has it at once; what isn't changes nothing, and who can be
// told is.
func TestToolsWriteThroughTheMount(t *testing.T) {
	t.Parallel()
	needTools(t)
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	targets := []*target{
		{
			name: limitsName, zkPath: limitsPath, start: "{\"limit\": 10}\n", from: "10", accepted: "20", rejected: "200",
			publish: func(s *writeScene) { s.publish(limitsPath, "{\"limit\": 10}\n") },
		},
		{
			name: feed, zkPath: deciderPath, start: "50\n", from: "50", accepted: "20", rejected: "101", each: true,
			publish: func(s *writeScene) { s.publishDecider(50) },
		},
	}
	for _, g := range targets {
		people := []person{member, superuser}
		for i, r := range g.rows(s) {
			s.mustUse(g, people[i%2], r)
			if r.want != "" {
				s.mustUse(g, people[(i+1)%2], r)
			}
			if r.want != "" && !g.each { // who may open a file is the same for all
				s.mustRefuse(g, r)
			}
		}
	}
	s.mustHaveAHistory()
}

func needTools(t testing.TB) {
	t.Helper()
	for _, name := range []string{"bash", "rsync", "perl", systemPython} {
		needProgram(t, name)
	}
}

// mustUse runs a tool as somebody who may write.
func (s *writeScene) mustUse(g *target, p person, r row) {
	s.t.Helper()
	what := fmt.Sprintf("%s of %s by %s", r.name, g.name, p.name)
	g.publish(s)
	before, names := s.published(g.zkPath), s.names(filepath.Dir(g.name))
	ran := s.as(p, r.script, s.toolEnv(g, r)...)
	if left := s.names(filepath.Dir(g.name)); !slices.Equal(left, names) {
		s.t.Errorf("%s: the directory lists %q, before %q", what, left, names)
	}
	want := r.want
	if want == "" {
		want = g.start
	}
	if err := has(s.m.config(g.name), want); err != nil {
		s.t.Errorf("%s: at once %v (it exited with %d and said %q)", what, err, ran.code, ran.stderr)
	}
	after := s.published(g.zkPath)
	if r.want == "" {
		if canTell := !r.mute && (!r.silent || g.each); canTell && ran.code == 0 {
			s.t.Errorf("%s, of what isn't valid: it reports no error, and says %q", what, ran.stderr)
		}
		if after != before {
			s.t.Errorf("%s, of what isn't valid: the fleet has %+v, before %+v", what, after, before)
		}
		return
	}
	if r.chmods && p.name != superuser.name {
		if ran.code == 0 || !strings.Contains(ran.stderr, "Operation not permitted") {
			s.t.Errorf("%s: it exited with %d and said %q, though it can't change the mode", what, ran.code, ran.stderr)
		}
	} else if ran.code != 0 || ran.stderr != "" {
		s.t.Errorf("%s: it exited with %d and said %q", what, ran.code, ran.stderr)
	}
	if steps := after.times - before.times; steps < 1 || steps > int32(max(r.most, 1)) {
		s.t.Errorf("%s: %d versions were published", what, steps)
	}
	if after == before {
		return
	}
	if author := s.author(g.zkPath); !strings.HasPrefix(author, p.name+"@") {
		s.t.Errorf("%s: the author is %q", what, author)
	}
	s.other.awaitConfig(g.name, want)
}

// mustRefuse runs a tool as somebody who may not write.
func (s *writeScene) mustRefuse(g *target, r row) {
	s.t.Helper()
	what := fmt.Sprintf("%s of %s by %s", r.name, g.name, stranger.name)
	before, content := s.published(g.zkPath), mustRead(s.t, s.m.config(g.name))
	names := s.names(filepath.Dir(g.name))
	ran := s.as(stranger, r.script, s.toolEnv(g, r)...)
	// vim says nothing, and perl exits with 0.
	if ran.code == 0 && !strings.Contains(ran.stderr, "Permission denied") {
		s.t.Errorf("%s: it exited with %d and said %q, nothing of a denied permission", what, ran.code, ran.stderr)
	}
	if after := s.published(g.zkPath); after != before {
		s.t.Errorf("%s: the fleet has %+v, before %+v", what, after, before)
	}
	if err := has(s.m.config(g.name), content); err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
	if left := s.names(filepath.Dir(g.name)); !slices.Equal(left, names) {
		s.t.Errorf("%s: the directory lists %q, before %q", what, left, names)
	}
}

// toolEnv is what a tool's script is given.
func (s *writeScene) toolEnv(g *target, r row) []string {
	path := s.m.config(g.name)
	return append([]string{"F=" + path, "D=" + filepath.Dir(path), "W=" + s.work}, r.env...)
}

// mustHaveAHistory checks that people find what was written where they look for
// it: `kingpin config history` and `config get`.
func (s *writeScene) mustHaveAHistory() {
	s.t.Helper()
	s.publish(textPath, "before\n")
	if r := s.as(member, `echo after > "$F"`, "F="+s.m.config(textName)); r.code != 0 {
		s.t.Fatalf("it exited with %d and said %q", r.code, r.stderr)
	}
	var history []historyEntry
	s.runJSON(&history, "config", "history", textName, "--limit", "2")
	if len(history) != 2 || !history[0].Current || history[0].Size != len("after\n") ||
		!strings.HasPrefix(history[0].Author, member.name+"@") || !containsAll(history[0].Comment, s.m.dirs.config, "bash") {
		s.t.Errorf("after a write through the mount the history is %+v", history)
	}
	if got := s.run("config", "get", textName); got != "after" {
		s.t.Errorf("the fleet has %q", got)
	}
}
