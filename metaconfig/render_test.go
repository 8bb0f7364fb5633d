package metaconfig

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

// wantRendered renders a subscription and compares it with an example, which
// is broken into lines for people alone.
func wantRendered(t *testing.T, sub Subscription, example string) {
	t.Helper()
	got, err := Render(sub)
	if want := strings.ReplaceAll(example, "\n  ", " "); err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

func TestRenderExamples(t *testing.T) {
	sub, err := ConfigSubscription("spam", "test_grey_list")
	if err != nil || sub != configSub {
		t.Errorf("got  %+v, %v\nwant %+v", sub, err, configSub)
	}
	wantRendered(t, sub, configExample)

	sub, err = ServersetSubscription("test_service", "prod")
	if err != nil || sub != serversetSub {
		t.Errorf("got  %+v, %v\nwant %+v", sub, err, serversetSub)
	}
	wantRendered(t, sub, serversetExample)
}

func TestDefaultSubscriptions(t *testing.T) {
	sub, err := ConfigSubscription("Spam", "White-List_2")
	if err != nil || sub.File != "config.manageddata.spam.white-list_2" || sub.ZKPath != "/config/manageddata/spam/white-list_2" {
		t.Errorf("got %+v, %v; want the names in lower case", sub, err)
	}
	sub, err = ServersetSubscription("Svc", "Prod")
	if err != nil || sub.File != "discovery.Svc.Prod" || sub.ZKPath != "/discovery/Svc/Prod" {
		t.Errorf("got %+v, %v; want the names as they are", sub, err)
	}
	for _, bad := range []string{"", "a.b", "a/b", "a b", "a;b", "$(id)", "ä", "a\n", "..", strings.Repeat("x", 300)} {
		for _, pair := range [][2]string{{bad, "x"}, {"x", bad}} {
			for what, subscription := range map[string]func(string, string) (Subscription, error){
				"ConfigSubscription": ConfigSubscription, "ServersetSubscription": ServersetSubscription,
			} {
				sub, err := subscription(pair[0], pair[1])
				if err == nil {
					_, err = Render(sub)
				}
				if !errors.Is(err, store.Invalid) {
					t.Errorf("%s(%q) renders with %v, want Invalid", what, pair, err)
				}
			}
		}
	}
}

func TestRenderRoundTrip(t *testing.T) {
	subs := []Subscription{
		configSub,
		{Section: "a", Type: Config, ZKPath: "/a", File: "a", RejectionRatio: 0.5, MaxWait: 90 * time.Second, AlertDisabled: true},
		{Section: "b-2", Type: Serverset, ZKPath: "/b/-2", File: "-b", RejectionRatio: 0.125, MinimumSize: 7},
		{Section: "c", Type: Serverset, ZKPath: "/c", File: "c", RejectionRatio: 0, MaxWait: MaxWait},
	}
	for i := range subs {
		subs[i].Metaconfig = "m"
	}
	content, err := Render(subs...)
	if err != nil {
		t.Fatal(err)
	}
	got, warnings, err := Parse("m", content)
	if err != nil || warnings != nil || !slices.Equal(got, subs) {
		t.Errorf("got  %+v, %q, %v\nwant %+v", got, warnings, err, subs)
	}
	if d, err := parse("m", content); err != nil || d.risky != nil {
		t.Errorf("entries %v of %s would make a shell do more, error %v", d.risky, content, err)
	}
	if content, err := Render(); err != nil || string(content) != "[]" {
		t.Errorf("Render() = %s, %v; want an empty array", content, err)
	}
}

func TestRenderRefuses(t *testing.T) {
	changes := map[string]func(*Subscription){
		"no type":           func(s *Subscription) { s.Type = "" },
		"unknown type":      func(s *Subscription) { s.Type = "both" },
		"no file":           func(s *Subscription) { s.File = "" },
		"file with a space": func(s *Subscription) { s.File = "a b" },
		"file in a shell":   func(s *Subscription) { s.File = "$(id)" },
		"quoted section":    func(s *Subscription) { s.Section = `a"b` },
		"relative znode":    func(s *Subscription) { s.ZKPath = "a" },
		"znode in a shell":  func(s *Subscription) { s.ZKPath = "/a;b" },
		"key in a shell":    func(s *Subscription) { s.KeyPrefix = "a`b`" },
		"ratio":             func(s *Subscription) { s.RejectionRatio = 1.5 },
		"minimum":           func(s *Subscription) { s.MinimumSize = -1 },
		"negative wait":     func(s *Subscription) { s.MaxWait = -time.Second },
		"fraction of wait":  func(s *Subscription) { s.MaxWait = time.Millisecond },
		"long wait":         func(s *Subscription) { s.MaxWait = MaxWait + time.Second },
		"serverset in S3":   func(s *Subscription) { s.Type = Serverset },
	}
	for name, change := range changes {
		sub := configSub
		change(&sub)
		if content, err := Render(sub); !errors.Is(err, store.Invalid) {
			t.Errorf("%s: rendered as %s, %v; want Invalid", name, content, err)
		}
	}
}
