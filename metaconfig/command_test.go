package metaconfig

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/store"
)

const (
	configCommand    = "zk_download_data.py -f /var/config/config.manageddata.spam.test_grey_list --from-s3 /data/config/manageddata/spam/test_grey_list -m config -p /config/manageddata/spam/test_grey_list"
	serversetCommand = "zk_download_data.py -f /var/serverset/discovery.test_service.prod -p /discovery/test_service/prod -m serverset"
)

func TestParseCommand(t *testing.T) {
	// with returns what a command gives that only names the file x.
	with := func(change func(*Command)) Command {
		c := Command{Target: "/var/config/x", File: "x", RejectionRatio: 0.5, Plain: true}
		change(&c)
		return c
	}
	nothing := func(*Command) {}
	tests := []struct {
		command  string
		want     Command
		warnings []string // a part of each
	}{
		{configCommand, Command{
			Target: "/var/config/config.manageddata.spam.test_grey_list", File: "config.manageddata.spam.test_grey_list",
			ZKPath: "/config/manageddata/spam/test_grey_list", Mode: Config, KeyPrefix: "data/config/manageddata/spam/test_grey_list",
			RejectionRatio: 0.5, Plain: true,
		}, nil},
		{serversetCommand, Command{
			Target: "/var/serverset/discovery.test_service.prod", File: "discovery.test_service.prod",
			ZKPath: "/discovery/test_service/prod", Mode: Serverset, RejectionRatio: 0.5, Plain: true,
		}, nil},

		// The forms of an option.
		{"zk_download_data.py -f /var/config/x", with(nothing), nil},
		{"zk_download_data.py -f/var/config/x", with(nothing), nil},
		{"zk_download_data.py -f=/var/config/x", with(nothing), nil},
		{"zk_download_data.py --file /var/config/x", with(nothing), nil},
		{"zk_download_data.py --file=/var/config/x", with(nothing), nil},
		{"zk_download_data.py --fi=/var/config/x", with(nothing), nil},
		{"zk_download_data.py -sf /var/config/x", with(nothing), []string{"ignored the option -s"}},
		{"zk_download_data.py '-f' \"/var/config/\"'x'", with(nothing), nil},
		{"/usr/local/bin/zk_download_data.py -f /var/config/x", with(nothing), nil},
		{"zk_download_data -f /var/config/x --allow-same-content", with(nothing), nil},
		{"zk_download_data.py -f /var/config/a -f /var/config/x", with(nothing), nil},
		{"zk_download_data.py -f /var/config/x -r 0.25 --serverset-minimum-size=3", with(func(c *Command) {
			c.RejectionRatio, c.MinimumSize = 0.25, 3
		}), nil},
		{"zk_download_data.py -f /var/config/x --serverset-r .1 --serverset-m 3", with(func(c *Command) {
			c.RejectionRatio, c.MinimumSize = 0.1, 3
		}), nil},
		{"zk_download_data.py -f /var/config/x -m SERVERSET", with(func(c *Command) { c.Mode = Serverset }), nil},
		{"zk_download_data.py -f /var/config/x --from-s3 //data///a//b/", with(func(c *Command) { c.KeyPrefix = "data/a/b" }), nil},
		{configCommand + "\n", Command{
			Target: "/var/config/config.manageddata.spam.test_grey_list", File: "config.manageddata.spam.test_grey_list",
			ZKPath: "/config/manageddata/spam/test_grey_list", Mode: Config, KeyPrefix: "data/config/manageddata/spam/test_grey_list",
			RejectionRatio: 0.5, Plain: true,
		}, nil},

		// Values out of range.
		{"zk_download_data.py -f /var/config/x -r -1", with(func(c *Command) { c.RejectionRatio = 0 }), []string{"not between 0 and 1"}},
		{"zk_download_data.py -f /var/config/x -r 1.5", with(func(c *Command) { c.RejectionRatio = 1 }), []string{"not between 0 and 1"}},
		{"zk_download_data.py -f /var/config/x -r inf", with(func(c *Command) { c.RejectionRatio = 1 }), []string{"not between 0 and 1"}},
		{"zk_download_data.py -f /var/config/x --serverset-minimum-size -3", with(nothing), []string{"negative"}},

		// The name of the file is the last element, whatever comes before it.
		{"zk_download_data.py -f ../../etc/passwd", with(func(c *Command) { c.Target, c.File = "../../etc/passwd", "passwd" }), nil},
		{"zk_download_data.py -f passwd", with(func(c *Command) { c.Target, c.File = "passwd", "passwd" }), nil},

		// What is ignored.
		{"zk_download_data.py -f /var/config/x --aws-key-file /etc/k.conf -z -", with(nothing),
			[]string{"option --aws-key-file", "option -z"}},
		{"zk_download_data.py -f /var/config/x --frobnicate=3 -q file --", with(nothing), []string{`"--frobnicate=3"`, `"-q"`, `"file"`}},
		{"zk_download_data.py -f /var/config/x --serverset 3", with(nothing), []string{`"--serverset"`, `"3"`}},
		{"zk_download_data.py -f /var/config/x -- -p /y", with(nothing), []string{`"-p"`, `"/y"`}},

		// What a shell would do besides.
		{"rm -rf / -f /var/config/y; zk_download_data.py -f /var/config/x", with(func(c *Command) { c.Plain = false }),
			[]string{`"rm -rf / -f /var/config/y"`, `";"`}},
		{"A=b sudo python zk_download_data.py -f /var/config/x && service x restart", with(func(c *Command) { c.Plain = false }),
			[]string{`"A=b sudo python"`, `"&& service x restart"`}},
		{"python -m kingpin.zk_update_monitor.zk_download_data -f /var/config/x", with(func(c *Command) { c.Plain = false }),
			[]string{`"python -m"`}},
		{"zk_download_data.py -f /var/config/x > /dev/null 2>&1", with(func(c *Command) { c.Plain = false }),
			[]string{`"> /dev/null"`, `"2>& 1"`}},
		{"zk_download_data.py >log -f /var/config/x | tee -p /y", with(func(c *Command) { c.Plain = false }),
			[]string{`"> log"`, `"| tee -p /y"`}},
		{"zk_download_data.py -f /var/config/x; zk_download_data.py -f /var/config/y", with(func(c *Command) { c.Plain = false }),
			[]string{`"; zk_download_data.py -f /var/config/y"`}},
		{"(zk_download_data.py -f /var/config/x)", with(func(c *Command) { c.Plain = false }), []string{`"("`, `")"`}},
		{"zk_download_data.py -f /var/config/x # -p /y", with(func(c *Command) { c.Plain = false }), []string{`"# -p /y"`}},
		{"zk_download_data.py -f /var/config/x $(touch /tmp/pwned)", with(func(c *Command) { c.Plain = false }), []string{`"$(touch /tmp/pwned)"`}},
		{"zk_download_data.py -f /var/config/x -p /`id -u`", with(func(c *Command) { c.Plain = false }), []string{"option -p"}},
		{"zk_download_data.py -f /var/config/x --path=$ZK", with(func(c *Command) { c.Plain = false }), []string{"option --path"}},
		{"zk_download_data.py -f /var/config/x -p'/$a'", with(func(c *Command) { c.ZKPath = "/$a" }), nil},
		{"> zk_download_data.py -f /var/config/y; zk_download_data.py -f /var/config/x", with(func(c *Command) { c.Plain = false }),
			[]string{`"> zk_download_data.py -f /var/config/y"`, `";"`}},
	}
	for _, test := range tests {
		t.Run(test.command, func(t *testing.T) {
			got, warnings, err := ParseCommand(test.command)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			wantParts(t, warnings, test.warnings)
		})
	}
}

// wantParts checks that there is one text for each part, which it holds.
func wantParts(t *testing.T, texts, parts []string) {
	t.Helper()
	if len(texts) != len(parts) {
		t.Fatalf("got %q, want one with each of %q", texts, parts)
	}
	for i := range texts {
		if !strings.Contains(texts[i], parts[i]) {
			t.Errorf("got %q, want it to say %q", texts[i], parts[i])
		}
	}
}

func TestParseCommandErrors(t *testing.T) {
	tests := []struct{ command, want string }{
		{"", "doesn't run zk_download_data.py"},
		{"rm -rf /", "doesn't run zk_download_data.py"},
		{"echo my_zk_download_data.py -f /var/config/x", "doesn't run zk_download_data.py"},
		{"$BIN/zk_download_data.py -f /var/config/x", "doesn't run zk_download_data.py"},
		{"zk_download_data.py", "-f is missing"},
		{"zk_download_data.py -p /x", "-f is missing"},
		{"rm -f /var/config/x; zk_download_data.py -p /x", "-f is missing"},
		{"zk_download_data.py -f $(touch /tmp/pwned)", "-f: only a shell could tell"},
		{"zk_download_data.py -f", "-f has no value"},
		{"zk_download_data.py -f -m config", "-f has no value"},
		{"zk_download_data.py --file= ", "--file has an empty value"},
		{"zk_download_data.py -f ''", "-f has an empty value"},
		{"zk_download_data.py -f=", "-f has an empty value"},
		{"zk_download_data.py -f /var/config/", "empty"},
		{"zk_download_data.py -f /var/config/..", `".."`},
		{"zk_download_data.py -f " + strings.Repeat("x", 256), "256 bytes"},
		{"zk_download_data.py -f 'x\x00'", "NUL"},
		{"zk_download_data.py -f x --allow-same-content=1", "takes no value"},
		{"zk_download_data.py -f x -m both", `"both" is neither`},
		{"zk_download_data.py -f x -r half", "not a number"},
		{"zk_download_data.py -f x -r nan", "not a number"},
		{"zk_download_data.py -f x --serverset-minimum-size 1.5", "not a whole number"},
		{"zk_download_data.py -f x --from-s3 /", "holds no key"},
		{"zk_download_data.py -f x --from-s3 'a\nb'", "control character"},
		{"zk_download_data.py -f 'x", "single quote"},
	}
	for _, test := range tests {
		_, _, err := ParseCommand(test.command)
		if !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("ParseCommand(%q) = %v, want Invalid with %q", test.command, err, test.want)
		}
	}
}

// A hostile command must not flood the log.
func TestParseCommandBoundsWarnings(t *testing.T) {
	command := "zk_download_data.py -f /var/config/x" + strings.Repeat(" "+strings.Repeat("ä", 100), 1000)
	_, warnings, err := ParseCommand(command)
	if err != nil || len(warnings) != maxWarnings+1 {
		t.Fatalf("%d warnings, error %v; want %d and how many more", len(warnings), err, maxWarnings)
	}
	if last, want := warnings[maxWarnings], fmt.Sprintf("and %d more", 1000-maxWarnings); last != want {
		t.Errorf("the last warning is %q, want %q", last, want)
	}
	if len(warnings[0]) > 200 {
		t.Errorf("the warning %q is long", warnings[0])
	}
	if _, _, err := ParseCommand("'" + strings.Repeat("x", 1<<20)); err == nil || len(err.Error()) > 300 {
		t.Errorf("want a short error, got %d bytes", len(err.Error()))
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, seed := range []string{
		configCommand, serversetCommand, "", "rm -rf /",
		"zk_download_data.py -f ../../etc/passwd -p /x -m serverset -r 0.3 --serverset-minimum-size=2",
		`zk_download_data.py -f"/var/config/x" --from-s3='//data//x' > /dev/null 2>&1 && service x restart`,
		"zk_download_data.py -f $(id) `id` ${x:-$(y)} \"$Z\" # end",
		"zk_download_data.py -sf x -- -r nan", "'", `"$(`, "${", "`\\", "$((1+(2)))", "\\\n", "-f=\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, command string) {
		c, warnings, err := ParseCommand(command)
		if len(warnings) > maxWarnings+1 {
			t.Errorf("%d warnings", len(warnings))
		}
		if err != nil {
			if !errors.Is(err, store.Invalid) || c != (Command{}) {
				t.Errorf("ParseCommand(%q) = %+v, %v", command, c, err)
			}
			return
		}
		if err := CheckFile(c.File); err != nil {
			t.Errorf("ParseCommand(%q): %v", command, err)
		}
		if !strings.HasSuffix(c.Target, c.File) {
			t.Errorf("the file %q is not the end of %q", c.File, c.Target)
		}
		if math.IsNaN(c.RejectionRatio) || c.RejectionRatio < 0 || c.RejectionRatio > 1 || c.MinimumSize < 0 {
			t.Errorf("ParseCommand(%q) = %+v: out of range", command, c)
		}
		if strings.HasPrefix(c.KeyPrefix, "/") || strings.Contains(c.KeyPrefix, "//") {
			t.Errorf("the key prefix %q has slashes to strip", c.KeyPrefix)
		}
		// What is plain has nothing that a shell acts on outside of quotes.
		if c.Plain && !strings.ContainsAny(command, `'"\`) && strings.ContainsAny(strings.Trim(command, "\n"), "`;&|()<>*?[{\n") {
			t.Errorf("the command %q passes for plain", command)
		}
	})
}
