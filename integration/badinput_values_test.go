package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

// badValue is something that must not be published, by a command and by a program.
type badValue struct {
	name    string
	command []string // its last arguments; nil where a command can't say it
	input   string
	code    int
	program func(ctx context.Context, client *managed.Client) (store.Value, error)
	kind    store.Kind
	told    string // by both
}

func setDecider(name string, value int) func(context.Context, *managed.Client) (store.Value, error) {
	return func(ctx context.Context, client *managed.Client) (store.Value, error) {
		return managed.NewDecider(managed.Options{Client: client}).Set(ctx, store.Write{}, name, value)
	}
}

// setDeciderAs sets one as a field of the map that it is, to any JSON.
func setDeciderAs(name, value string) func(context.Context, *managed.Client) (store.Value, error) {
	return func(ctx context.Context, client *managed.Client) (store.Value, error) {
		return managed.NewMap("admin", "decider", managed.Options{Client: client}).Set(ctx, store.Write{}, name, json.RawMessage(value))
	}
}

func putContent(file, content string) func(context.Context, *managed.Client) (store.Value, error) {
	return func(ctx context.Context, client *managed.Client) (store.Value, error) {
		return client.Put(ctx, file, []byte(content), store.Write{})
	}
}

func addTo(domain, key string, items ...string) func(context.Context, *managed.Client) (store.Value, error) {
	return func(ctx context.Context, client *managed.Client) (store.Value, error) {
		return managed.NewList(domain, key, managed.Options{Client: client}).Add(ctx, store.Write{}, items...)
	}
}

// What is bad is refused, alike by commands and by programs, and nothing of it is
// ever there.
func TestBadValues(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	names := []string{f.newConfig("spam", "grey_list"), f.newConfig("spam", "rules_json"), f.newConfig("spam", "limits"), f.newConfig("admin", "decider")}
	f.run("list", "set", "spam.grey_list", "good")
	f.run("map", "set", "spam.limits", "good", "1")
	f.put(names[1], `{"good": 1}`)
	f.run("decider", "set", "good", "50")
	f.runInput(`{"type": "array", "items": {"type": "string", "maxLength": 10}}`, "config", "schema", names[0], "-")
	huge := strings.Repeat("x", 20<<20)
	list, rules, decider := names[0], names[1], names[3]
	const notWhole, schema = "not a whole number from 0 to 100", "the config's schema refuses it: line 1, column 10 (/1): maxLength"
	tests := []badValue{
		{"101", []string{"decider", "set", "x", "101"}, "", 3, setDecider("x", 101), store.Invalid, "value 101"},
		{"-1", []string{"decider", "set", "--", "x", "-1"}, "", 3, setDecider("x", -1), store.Invalid, "value -1"},
		{"1e3", []string{"decider", "set", "x", "1e3"}, "", 3, setDeciderAs("x", "1e1"), store.Invalid, notWhole},
		{"fifty", []string{"decider", "set", "x", "fifty"}, "", 3, setDeciderAs("x", `"fifty"`), store.Invalid, notWhole},
		{"empty", []string{"decider", "set", "x", ""}, "", 3, setDeciderAs("x", `""`), store.Invalid, notWhole},
		{"NUL in a value", nil, "", 3, setDeciderAs("x", `"5\u0000"`), store.Invalid, notWhole},
		{"NUL in a name", nil, "", 3, setDecider("x\x00", 1), store.Invalid, "a slash or a NUL"},
		{"upper case", []string{"decider", "set", "Upper", "1"}, "", 3, setDecider("Upper", 1), store.Invalid, "not in lower case"},
		{"a slash", []string{"decider", "set", "a/b", "1"}, "", 3, setDecider("a/b", 1), store.Invalid, "a slash or a NUL"},
		{"no name", []string{"decider", "set", "", "1"}, "", 3, setDecider("", 1), store.Invalid, "it is empty"},
		{"two dots", []string{"decider", "set", "..", "1"}, "", 3, setDecider("..", 1), store.Invalid, "a directory"},
		{"a long name", []string{"decider", "set", strings.Repeat("n", 256), "1"}, "", 3, setDecider(strings.Repeat("n", 256), 1), store.Invalid, "more than 255"},
		{"all deciders at once", []string{"config", "put", decider, "-"}, `{"good": 50, "x": 101}`, 3, putContent(decider, `{"good": 50, "x": 101}`), store.Invalid, "line 1, column 19 (/x): the value 101"},
		{"all deciders as a list", []string{"config", "put", decider, "-"}, `["good"]`, 3, putContent(decider, `["good"]`), store.Invalid, "want a JSON object, not an array"},
		{"deciders with NUL bytes", []string{"config", "put", decider, "-"}, "{\"x\": 1}\x00", 3, putContent(decider, "{\"x\": 1}\x00"), store.Invalid, `line 1, column 9: '\x00'`},
		{"no content", []string{"config", "put", list, "-"}, "", 3, putContent(list, ""), store.Invalid, "it is empty, and no monitor would serve that"},
		{"20 MiB", []string{"config", "put", list, "-"}, huge, 3, putContent(list, huge), store.TooLarge, "the limit is 16777216"},
		{"20 MiB of one entry", []string{"list", "add", "spam.grey_list", "--from", "huge"}, "", 3, addTo("spam", "grey_list", huge), store.TooLarge, "the limit is 16777216"},
		{"what is said to be JSON", []string{"config", "put", rules, "-"}, "{\n\"a\": }", 3, putContent(rules, "{\n\"a\": }"), store.Invalid, "it is not JSON: line 2, column 6"},
		{"what only Python reads", []string{"config", "put", rules, "-"}, `{"a": NaN}`, 3, putContent(rules, `{"a": NaN}`), store.Invalid, "line 1, column 7 (/a): the number is not finite"},
		{"what the schema refuses", []string{"list", "add", "spam.grey_list", "much too long"}, "", 3, addTo("spam", "grey_list", "much too long"), store.Invalid, schema},
		{"a list that is a map", []string{"list", "add", "spam.limits", "x"}, "", 3, addTo("spam", "limits", "x"), store.Invalid, "want a JSON array, not an object"},
		{"what isn't UTF-8", []string{"list", "add", "spam.grey_list", "\xff"}, "", 3, addTo("spam", "grey_list", "\xff"), store.Invalid, "it is not UTF-8"},
		{"a config that isn't created", []string{"list", "add", "no.such", "x"}, "", 1, addTo("no", "such", "x"), store.NotFound, "`kingpin metaconfig create-config no such` creates it"},
		{"the same as a whole", []string{"config", "put", "config.manageddata.no.such", "-"}, "[]", 1, putContent("config.manageddata.no.such", "[]"), store.NotFound, "`kingpin metaconfig create-config no such` creates it"},
		{"a slash in a config's name", []string{"config", "put", "config.manageddata.spam/x", "-"}, "[]", 2, putContent("config.manageddata.spam/x", "[]"), store.Invalid, "config.manageddata.spam/x"},
		{"a key that is none", []string{"list", "add", "spam.grey/list", "x"}, "", 2, addTo("spam", "grey/list", "x"), store.Invalid, "only letters, digits, - and _ may be used"},
		{"a NUL in a key", nil, "", 2, addTo("spam", "grey\x00list", "x"), store.Invalid, "only letters, digits, - and _ may be used"},
	}
	mustWrite(t, filepath.Join(f.dir, "huge"), huge)
	before := map[string]string{}
	for _, name := range names {
		before[name] = f.run("config", "get", name, "--output", "json")
	}
	client := f.startBackends(route{f.zkAddr, f.server.endpoint}).Configs()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.command != nil {
				wantExit(t, f.try(test.input, test.command...), test.code, test.told)
			}
			if _, err := test.program(t.Context(), client); store.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.told) {
				t.Errorf("a program gets %.300v (kind %v), want %v and %q", err, store.KindOf(err), test.kind, test.told)
			}
		})
	}
	// Upper case in a config's name is the same config.
	f.run("list", "add", "SPAM.Grey_List", "good")
	for _, name := range names {
		if after := f.run("config", "get", name, "--output", "json"); after != before[name] {
			t.Errorf("%s was\n%s\nand is\n%s", name, before[name], after)
		}
	}
}

// Who writes a value while it is taken out of the fleet is told so, and doesn't
// bring it back.
func TestValueIsRemovedWhileItIsWritten(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"command", "program"} {
		t.Run(by, func(t *testing.T) {
			s3, described := ownS3(t)
			f := newFleetOn(t, devtest.SharedZooKeeper(t), described)
			f.put(f.newConfig(sharedDomain, sharedKey), `["old"]`)
			release := holdWritesOf(s3, func(r *http.Request) bool { return r.Header.Get("Authorization") != "" })
			defer release()
			ended := f.startAdding(by, route{f.zkAddr, f.server.endpoint}, "new")
			f.awaitContenders(1)
			f.zk.remove(managedPath(sharedDomain, sharedKey))
			release()
			if err := <-ended; err == nil || !strings.Contains(err.Error(), fmt.Sprintf("create-config %s %s` creates it", sharedDomain, sharedKey)) {
				t.Errorf("the writer ended with %v", err)
			}
			if f.zk.exists(managedPath(sharedDomain, sharedKey)) {
				t.Error("the value is back")
			}
			// Made anew, it is empty.
			f.newConfig(sharedDomain, sharedKey)
			f.wantList()
			f.run("list", "add", sharedList, "newer")
			f.wantList("newer")
		})
	}
}
