package metaconfig

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

// The two examples of docs/wire-format.md, as the fleet's tools print them.
const (
	configExample = `[{"config_section_name": "config.manageddata.spam.test_grey_list",
  "zk_path": "/config/manageddata/spam/test_grey_list",
  "command": "` + configCommand + `",
  "type": "config",
  "max_wait_in_secs": 0}]`
	serversetExample = `[{"config_section_name": "discovery.test_service.prod",
  "zk_path": "/discovery/test_service/prod",
  "command": "` + serversetCommand + `",
  "type": "serverset",
  "max_wait_in_secs": 0}]`
)

var (
	configSub = Subscription{
		Metaconfig: "config.manageddata.spam.test_grey_list", Section: "config.manageddata.spam.test_grey_list", Type: Config,
		ZKPath: "/config/manageddata/spam/test_grey_list", File: "config.manageddata.spam.test_grey_list",
		KeyPrefix: "data/config/manageddata/spam/test_grey_list", RejectionRatio: 0.5,
	}
	serversetSub = Subscription{
		Metaconfig: "discovery.test_service.prod", Section: "discovery.test_service.prod", Type: Serverset,
		ZKPath: "/discovery/test_service/prod", File: "discovery.test_service.prod", RejectionRatio: 0.5,
	}
)

func TestParseExamples(t *testing.T) {
	for _, test := range []struct {
		content string
		want    Subscription
	}{{configExample, configSub}, {serversetExample, serversetSub}} {
		subs, warnings, err := Parse(test.want.Metaconfig, []byte(test.content))
		if err != nil || warnings != nil || !slices.Equal(subs, []Subscription{test.want}) {
			t.Errorf("got  %+v, %q, %v\nwant %+v", subs, warnings, err, test.want)
		}
	}
}

func TestParse(t *testing.T) {
	const command = `"command": "zk_download_data.py -f /var/config/x"`
	x := Subscription{Metaconfig: "m", Section: "x", Type: Config, ZKPath: "/x", File: "x", RejectionRatio: 0.5}
	with := func(change func(*Subscription)) []Subscription {
		sub := x
		change(&sub)
		return []Subscription{sub}
	}
	nothing := func(*Subscription) {}
	tests := []struct {
		name     string
		content  string
		want     []Subscription
		warnings []string
	}{
		{"no entries", `[]`, nil, nil},
		{"the least", `[{"zk_path": "/x", ` + command + `}]`, with(nothing), nil},
		{"a single object", ` {"zk_path": "/x", ` + command + `} `, with(nothing), []string{"single JSON object"}},
		{"unknown fields", `[{"zk_path": "/x", ` + command + `, "owner": {"team": ["a"]}, "Type": "serverset"}]`, with(nothing), nil},
		{"nulls", `[{"zk_path": "/x", ` + command + `, "type": null, "max_wait_in_secs": null, "alert_disabled": null, "config_section_name": null}]`, with(nothing), nil},
		{"path from the command", `[{"command": "zk_download_data.py -f /var/config/x -p /x"}]`, with(nothing), nil},
		{"paths differ", `[{"zk_path": "/x", "command": "zk_download_data.py -f /var/config/x -p /y"}]`, with(nothing), []string{`[0].zk_path: it is "/x", which counts`}},
		{
			"types differ", `[{"zk_path": "/x", "type": "Serverset", "command": "zk_download_data.py -f /var/serverset/x -m config"}]`,
			with(func(s *Subscription) { s.Type = Serverset }),
			[]string{`[0].type: it is "serverset", which counts`},
		},
		{
			"type from the command", `[{"zk_path": "/x", "command": "zk_download_data.py -f /var/serverset/x -m serverset"}]`,
			with(func(s *Subscription) { s.Type = Serverset }),
			[]string{"[0].type: it is missing"},
		},
		{
			"several", `[{"zk_path": "/x", ` + command + `}, {"zk_path": "/y", "config_section_name": "why", "type": "serverset", "command": "zk_download_data.py -f /var/serverset/x -r 0.3 --serverset-minimum-size 2"}]`,
			[]Subscription{x, {Metaconfig: "m", Section: "why", Type: Serverset, ZKPath: "/y", File: "x", RejectionRatio: 0.3, MinimumSize: 2}},
			nil,
		},
		{
			"key prefix of a serverset", `[{"zk_path": "/x", "type": "serverset", "command": "zk_download_data.py -f /var/serverset/x --from-s3 /data/x"}]`,
			with(func(s *Subscription) { s.Type = Serverset }),
			[]string{"[0].command: ignored --from-s3"},
		},
		{
			"another directory", `[{"zk_path": "/x", "command": "zk_download_data.py -f ../../etc/passwd"}]`,
			with(func(s *Subscription) { s.File, s.Section = "passwd", "passwd" }),
			[]string{`[0].command: -f names "../../etc/passwd": the file is served as "passwd"`},
		},
		{
			"the directory of the other type", `[{"zk_path": "/x", "command": "zk_download_data.py -f /var/serverset/x"}]`,
			with(nothing),
			[]string{`in the directory of the configs`},
		},
		{
			"a shell command", `[{"zk_path": "/x", "command": "rm -rf /; zk_download_data.py -f /var/config/x"}]`,
			with(nothing),
			[]string{`[0].command: ignored "rm -rf /"`, `ignored ";"`},
		},
	}
	waits := []struct {
		value   string
		want    time.Duration
		warning string
	}{
		{`30`, 30 * time.Second, ""},
		{`"30"`, 30 * time.Second, ""},
		{`" 30 "`, 30 * time.Second, ""},
		{`1.9`, time.Second, ""},
		{`-0.5`, 0, "negative"},
		{`"-30"`, 0, "negative"},
		{`86400`, MaxWait, ""},
		{`86401`, MaxWait, "more than 24h0m0s"},
		{`1e999`, MaxWait, "more than 24h0m0s"},
		{`-1e999`, 0, "negative"},
	}
	for _, wait := range waits {
		test := tests[1]
		test.name = "max_wait_in_secs " + wait.value
		test.content = `[{"zk_path": "/x", ` + command + `, "max_wait_in_secs": ` + wait.value + `}]`
		test.want = with(func(s *Subscription) { s.MaxWait = wait.want })
		if wait.warning != "" {
			test.warnings = []string{"[0].max_wait_in_secs: " + strings.Trim(wait.value, `"`) + " is " + wait.warning}
		}
		tests = append(tests, test)
	}
	alerts := []struct {
		value   string
		want    bool
		warning string
	}{
		{`"true"`, true, ""},
		{`"True"`, true, ""},
		{`"false"`, false, ""},
		{`""`, false, ""},
		{`true`, true, "it is a JSON boolean"},
		{`false`, false, "it is a JSON boolean"},
		{`"yes"`, false, `"yes" is neither`},
	}
	for _, alert := range alerts {
		test := tests[1]
		test.name = "alert_disabled " + alert.value
		test.content = `[{"zk_path": "/x", ` + command + `, "alert_disabled": ` + alert.value + `}]`
		test.want = with(func(s *Subscription) { s.AlertDisabled = alert.want })
		if alert.warning != "" {
			test.warnings = []string{"[0].alert_disabled: " + alert.warning}
		}
		tests = append(tests, test)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			subs, warnings, err := Parse("m", []byte(test.content))
			if err != nil || !slices.Equal(subs, test.want) {
				t.Fatalf("got  %+v, %v\nwant %+v", subs, err, test.want)
			}
			wantParts(t, warnings, test.warnings)
		})
	}
}

func TestParseErrors(t *testing.T) {
	entry := func(fields string) string {
		return `[{"zk_path": "/x", "command": "zk_download_data.py -f /var/config/x"` + fields + `}]`
	}
	tests := []struct{ content, want string }{
		{"", "it is empty"},
		{" \n", "it is empty"},
		{"1448012345.67x", "line 1, column 14: it is not JSON"},
		{"[{\n  \"ü\": x}]", "line 2, column 8: it is not JSON"},
		{"[{}", "line 1, column 3: it is not JSON"},
		{"[] []", "line 1, column 4: it is not JSON"},
		{"[{\"a\": \"\xff\"}]", "line 1, column 9: it is not UTF-8"},
		{strings.Repeat("[", 20000), "it is not JSON"},
		{"null", "it is a JSON null"},
		{"3", "it is a JSON number"},
		{`"x"`, "it is a JSON string"},
		{"true", "it is a JSON boolean"},
		{"[3]", "[0]: it is a JSON number"},
		{"[[]]", "[0]: it is a JSON array"},
		{"[{}]", "[0].command: it is missing"},
		{`[{"command": ""}]`, "[0].command: it is missing"},
		{`[{"command": ["rm"]}]`, "[0].command: it is a JSON array"},
		{`[{"command": "rm -rf /"}]`, "[0].command: it doesn't run zk_download_data.py"},
		{`[{"command": "zk_download_data.py -f x"}]`, "[0].zk_path: it is missing"},
		{`[{"command": "zk_download_data.py -f x -p y"}]`, "[0].zk_path: invalid path"},
		{entry(`, "zk_path": "x"`), "[0].zk_path: invalid path"},
		{entry(`, "zk_path": "/x/../y"`), "[0].zk_path: invalid path"},
		{entry(`, "zk_path": "/x/"`), "[0].zk_path: invalid path"},
		{entry(`, "zk_path": "/x.lock"`), "[0].zk_path: invalid path"},
		{entry(`, "zk_path": 3`), "[0].zk_path: it is a JSON number"},
		{entry(`, "type": "both"`), `[0].type: "both" is neither`},
		{entry(`, "type": 3`), "[0].type: it is a JSON number"},
		{entry(`, "config_section_name": {}`), "[0].config_section_name: it is a JSON object"},
		{entry(`, "max_wait_in_secs": "soon"`), `[0].max_wait_in_secs: "soon" is not a number`},
		{entry(`, "max_wait_in_secs": "nan"`), `[0].max_wait_in_secs: "nan" is not a number`},
		{entry(`, "max_wait_in_secs": ""`), `[0].max_wait_in_secs: "" is not a number`},
		{entry(`, "max_wait_in_secs": true`), "[0].max_wait_in_secs: it is a JSON boolean"},
		{entry(`, "alert_disabled": 1`), "[0].alert_disabled: it is a JSON number"},
	}
	for _, test := range tests {
		subs, _, err := Parse("m", []byte(test.content))
		if !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `"m"`) || subs != nil {
			t.Errorf("Parse(%.60q) = %v, %v; want Invalid with %q", test.content, subs, err, test.want)
		}
	}
}

// One bad entry doesn't take the others away.
func TestParseKeepsGoodEntries(t *testing.T) {
	one := func(file string) string {
		return fmt.Sprintf(`{"zk_path": "/%s", "command": "zk_download_data.py -f /var/config/%s"}`, file, file)
	}
	content := "[" + one("a") + ", 3, " + one("b") + ", " + one("a") + "]"
	subs, _, err := Parse("m", []byte(content))
	if len(subs) != 2 || subs[0].File != "a" || subs[1].File != "b" {
		t.Errorf("got %+v, want a and b", subs)
	}
	for _, want := range []string{"[1]: it is a JSON number", `[3].command: the file "a" is that of entry [0] already`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to say %q", err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		configExample, serversetExample, "", "[]", "{}", "null", "[null, 1, {}]", "[{\"command\": 3}]", "\xff", "[{",
		`[{"command": "zk_download_data.py -f ../x -p /y -m serverset", "max_wait_in_secs": "1e3", "alert_disabled": true}]`,
		`[{"zk_path": "/x", "type": "config", "command": "rm; zk_download_data.py -f $(id) && x", "max_wait_in_secs": -1}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		subs, _, err := Parse("m", content)
		if err != nil && !errors.Is(err, store.Invalid) {
			t.Errorf("Parse(%q): %v is not Invalid", content, err)
		}
		for _, sub := range subs {
			if err := CheckFile(sub.File); err != nil {
				t.Errorf("Parse(%q): %v", content, err)
			}
			if err := checkZKPath(sub.ZKPath); err != nil {
				t.Errorf("Parse(%q): %v", content, err)
			}
			inRange := sub.RejectionRatio >= 0 && sub.RejectionRatio <= 1 && !math.IsNaN(sub.RejectionRatio) &&
				sub.MinimumSize >= 0 && sub.MaxWait >= 0 && sub.MaxWait <= MaxWait
			if !inRange || sub.Section == "" || sub.Metaconfig != "m" || sub.Type != Config && sub.Type != Serverset {
				t.Errorf("Parse(%q) = %+v", content, sub)
			}
		}
		// What can be written is read back as it was.
		if rendered, err := Render(subs...); err == nil {
			again, warnings, err := Parse("m", rendered)
			if err != nil || warnings != nil || !slices.Equal(again, subs) {
				t.Errorf("%+v was rendered as %s and read back as %+v, %q, %v", subs, rendered, again, warnings, err)
			}
		}
	})
}
