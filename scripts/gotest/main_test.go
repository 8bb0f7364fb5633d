package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module writes a module of one package with the given test file and goes
// there.
func module(t *testing.T, test string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":    "module example.com/p\n\ngo 1.26\n",
		"p_test.go": "package p\n\nimport \"testing\"\n\n" + test,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

func TestRun(t *testing.T) {
	tests := map[string]struct {
		test     string
		code     int
		has, not []string // in the output
	}{
		"pass": {
			test: `func TestA(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Log("chatter") }) }`,
			code: 0,
			has:  []string{"ok  \texample.com/p", "2 passed, 0 failed, 0 skipped\n"},
			not:  []string{"chatter", "=== RUN"},
		},
		"fail": {
			test: `func TestA(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Error("reason") }) }
			       func TestB(t *testing.T) { t.Log("chatter") }`,
			code: 1,
			has:  []string{"reason", "--- FAIL: TestA/sub", "FAIL\texample.com/p", "1 passed, 2 failed, 0 skipped\n"},
			not:  []string{"chatter", "=== RUN"},
		},
		"skip": {
			test: `func TestA(t *testing.T) { t.Skip("reason") }`,
			code: 1,
			has:  []string{"reason", "--- SKIP: TestA", "0 passed, 0 failed, 1 skipped\n", "tests were skipped"},
		},
		"crash": {
			test: `func TestA(t *testing.T) { go func() { panic("reason") }(); select {} }`,
			code: 1,
			has:  []string{"reason", "FAIL\texample.com/p", "0 passed, 1 failed, 0 skipped\n"},
		},
		"does not compile": {
			test: `func TestA(t *testing.T) { nonsense }`,
			code: 1,
			has:  []string{"undefined: nonsense", "FAIL\texample.com/p [build failed]"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			module(t, tt.test)
			var out strings.Builder
			if code := run([]string{"./..."}, &out, &out); code != tt.code {
				t.Errorf("run() = %d, want %d", code, tt.code)
			}
			for _, want := range tt.has {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the output lacks %q", want)
				}
			}
			for _, unwanted := range tt.not {
				if strings.Contains(out.String(), unwanted) {
					t.Errorf("the output holds %q", unwanted)
				}
			}
			if t.Failed() {
				t.Logf("the output:\n%s", out.String())
			}
		})
	}
}
