package metaconfig

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func words(tokens []token) []string {
	var texts []string
	for _, t := range tokens {
		if t.kind == wordToken {
			texts = append(texts, t.text)
		}
	}
	return texts
}

// What has nothing for a shell to expand must be split as the shell does it.
func TestSplitCommandAsShell(t *testing.T) {
	lines := []string{
		`a b c`,
		"  a\t b  ",
		`a 'b c' "d e" f\ g`,
		`a'b'"c"\d`,
		`'' "" a`,
		`'a"b' "a'b" "a\"b" "a\\b" "a\$b" 'a\b' "a\b"`,
		"a\\\nb \"c\\\nd\" \\\n e",
		`a#b '#c' \#d`,
		`a=b --c=d -e`,
		`a$ "b$" '$c' \$d "$ e" a$/b`,
		`'*' "?" \[x '{a,b}' "~" a~b`,
		`12 3a 4`,
		`'; & | < > ( )' "&&" \;`,
		"a # all of this is a comment ' \" `",
	}
	for _, line := range lines {
		script := "printf '%s\\0' " + line
		want, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", script).Output()
		if err != nil {
			t.Fatalf("sh -c %q: %v", script, err)
		}
		tokens, err := splitCommand(line)
		if err != nil {
			t.Errorf("splitCommand(%q): %v", line, err)
			continue
		}
		if joined := strings.Join(words(tokens), "\x00") + "\x00"; joined != string(want) {
			t.Errorf("splitCommand(%q) = %q, the shell has %q", line, joined, want)
		}
		for _, tok := range tokens {
			if tok.kind == wordToken && tok.shell != "" {
				t.Errorf("splitCommand(%q): %q is said to need a shell for %q", line, tok.text, tok.shell)
			}
		}
	}
}

func TestSplitCommandTokens(t *testing.T) {
	word := func(text string) token { return token{kind: wordToken, text: text} }
	shell := func(text, shell string) token { return token{kind: wordToken, text: text, shell: shell} }
	operator := func(text string) token { return token{kind: operatorToken, text: text} }
	redirect := func(text string) token { return token{kind: redirectToken, text: text} }
	tests := []struct {
		line string
		want []token
	}{
		{"a;b", []token{word("a"), operator(";"), word("b")}},
		{"a&&b||c|d&e\nf", []token{word("a"), operator("&&"), word("b"), operator("||"), word("c"), operator("|"),
			word("d"), operator("&"), word("e"), operator("\n"), word("f")}},
		{"(a)", []token{operator("("), word("a"), operator(")")}},
		{"a>b 2>&1 <c >>d 3<>e >|f <<-g", []token{word("a"), redirect(">"), word("b"), redirect("2>&"), word("1"), redirect("<"), word("c"),
			redirect(">>"), word("d"), redirect("3<>"), word("e"), redirect(">|"), word("f"), redirect("<<-"), word("g")}},
		{"a2>b", []token{word("a2"), redirect(">"), word("b")}},
		{"a # b", []token{word("a"), operator("# b")}},
		{"$(a b;c)d", []token{shell("$(a b;c)d", "$(a b;c)")}},
		{`$(a ")" ')' \) $(b) ${c} (d))e f`, []token{shell(`$(a ")" ')' \) $(b) ${c} (d))e`, `$(a ")" ')' \) $(b) ${c} (d))`), word("f")}},
		{`$(a '\')b`, []token{shell(`$(a '\')b`, `$(a '\')`)}},
		{`$(a "it's")b`, []token{shell(`$(a "it's")b`, `$(a "it's")`)}},
		{"a`b c`d", []token{shell("a`b c`d", "`b c`")}},
		{`"a $(b "c d") e"`, []token{shell(`a $(b "c d") e`, `$(b "c d")`)}},
		{`"$HOME/x"`, []token{shell("$HOME/x", "$HOME")}},
		{"$1$2", []token{shell("$1$2", "$1")}},
		{"$$", []token{shell("$$", "$$")}},
		{"${x:-a b}", []token{shell("${x:-a b}", "${x:-a b}")}},
		{`$'a'`, []token{shell("$a", "$'")}},
		{"~/x", []token{shell("~/x", "~")}},
		{"a*", []token{shell("a*", "*")}},
		{"{a,b}", []token{shell("{a,b}", "{")}},
		{`a\`, []token{word(`a\`)}},
	}
	for _, test := range tests {
		got, err := splitCommand(test.line)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("splitCommand(%q) = %+v, %v; want %+v", test.line, got, err, test.want)
		}
	}
}

func TestSplitCommandErrors(t *testing.T) {
	tests := []struct{ line, want string }{
		{"a 'b", "character 3: a single quote"},
		{`a "b\"`, "character 3: a double quote"},
		{"a $(b", "character 3: the substitution"},
		{"a ${b", "character 3: the substitution"},
		{"a `b", "character 3: the substitution"},
		{`"$(a"`, "character 2: the substitution"},
	}
	for _, test := range tests {
		if got, err := splitCommand(test.line); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("splitCommand(%q) = %v, %v; want %q", test.line, got, err, test.want)
		}
	}
}
