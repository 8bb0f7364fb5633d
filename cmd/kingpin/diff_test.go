package main

import (
	"testing"
)

func TestUnifiedDiff(t *testing.T) {
	tests := []struct {
		before, after string
		raw           bool
		want          string
	}{
		{`["a"]`, `["a"]`, false, ""},
		{`["a", "b"]`, `["a"]`, false, "--- old\n+++ new\n@@ -1,4 +1,3 @@\n [\n-  \"a\",\n-  \"b\"\n+  \"a\"\n ]\n"},
		{`["a"]`, `["b"]`, true, "--- old\n+++ new\n@@ -1,1 +1,1 @@\n-[\"a\"]\n\\ No newline at end of file\n+[\"b\"]\n\\ No newline at end of file\n"},
		// The same JSON in another form is a difference too.
		{`["a"]`, "[\n  \"a\"\n]\n", false, "--- old\n+++ new\n@@ -1,1 +1,3 @@\n-[\"a\"]\n\\ No newline at end of file\n+[\n+  \"a\"\n+]\n"},
		{"", "x\n", false, "--- old\n+++ new\n@@ -0,0 +1,1 @@\n+x\n"},
		{"a\x00", "a", false, "--- old\n+++ new\nThe contents of 2 and 1 bytes are no texts, and differ.\n"},
	}
	for _, test := range tests {
		if got := unifiedDiff("old", "new", []byte(test.before), []byte(test.after), test.raw); got != test.want {
			t.Errorf("from %q to %q:\n%q\nwant\n%q", test.before, test.after, got, test.want)
		}
	}
}

func TestTerminalDiff(t *testing.T) {
	const text = "--- old\n+++ new\n@@ -1,1 +1,1 @@\n-a\x1b[2J\n+b\tc\u0085\u202e\x7f\n same\n"
	const plain = "--- old\n+++ new\n@@ -1,1 +1,1 @@\n-a␛[2J\n+b\tc\uFFFD\uFFFD\uFFFD\n same\n"
	if got := terminalDiff(text, false); got != plain {
		t.Errorf("got %q, want %q", got, plain)
	}
	const coloured = "\x1b[1m--- old\x1b[0m\n\x1b[1m+++ new\x1b[0m\n\x1b[36m@@ -1,1 +1,1 @@\x1b[0m\n\x1b[31m-a␛[2J\x1b[0m\n\x1b[32m+b\tc\uFFFD\uFFFD\uFFFD\x1b[0m\n same\n"
	if got := terminalDiff(text, true); got != coloured {
		t.Errorf("got %q, want %q", got, coloured)
	}
}

func TestEditorCommand(t *testing.T) {
	for _, test := range []struct{ visual, editor, want string }{
		{"", "", "vi"}, {"", "nano", "nano"}, {"code -w", "nano", "code -w"}, {" ", "ed", "ed"},
	} {
		env := map[string]string{"VISUAL": test.visual, "EDITOR": test.editor}
		if got := editorCommand(func(name string) string { return env[name] }); got != test.want {
			t.Errorf("of %+v the editor is %q", test, got)
		}
	}
}
