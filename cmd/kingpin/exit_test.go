package main

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"strings"
	"syscall"
	"testing"

	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/store"
)

func TestExitCode(t *testing.T) {
	tests := map[string]struct {
		err  error
		want int
	}{
		"none":          {nil, 0},
		"unknown":       {errors.New("boom"), 1},
		"not found":     {&store.Error{Kind: store.NotFound}, 1},
		"usage":         {usagef("bad"), 2},
		"invalid usage": {usagef("--version: %w", store.Invalid), 2},
		"exists":        {&store.Error{Kind: store.Exists}, 3},
		"conflict":      {fmt.Errorf("writing: %w", &store.Error{Kind: store.Conflict}), 3},
		"invalid":       {store.Invalid, 3},
		"denied":        {&store.Error{Kind: store.Denied}, 3},
		"too large":     {&store.Error{Kind: store.TooLarge}, 3},
		"in use":        {fmt.Errorf("opening: %w", kpfs.ErrInUse), 3},
		"no permission": {&iofs.PathError{Op: "open", Err: syscall.EACCES}, 3},
		"unavailable":   {&store.Error{Kind: store.Unavailable}, 4},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := exitCode(tt.err); got != tt.want {
				t.Errorf("exitCode(%v) = %d, want %d", tt.err, got, tt.want)
			}
		})
	}
}

func TestUsageErrors(t *testing.T) {
	tests := map[string]struct {
		args   []string
		stderr string
	}{
		"unknown command":    {[]string{"confg"}, `"kingpin" has no command "confg": did you mean config?`},
		"unknown subcommand": {[]string{"config", "pit"}, `"kingpin config" has no command "pit": did you mean list or get or put or edit?`},
		"no subcommand":      {[]string{"config"}, `"kingpin config" needs a subcommand`},
		"unknown flag":       {[]string{"config", "list", "--nonsense"}, "unknown flag: --nonsense"},
		"missing argument":   {[]string{"config", "get"}, "accepts 1 arg(s), received 0"},
		"extra argument":     {[]string{"version", "x"}, `kingpin version takes no arguments, but was given ["x"]`},
		"bad output":         {[]string{"version", "--output", "xml"}, "it is neither table nor json"},
		"bad log level":      {[]string{"version", "--log-level", "loud"}, `--log-level "loud" is none of`},
		"bad log format":     {[]string{"version", "--log-format", "xml"}, `--log-format "xml" is neither`},
		"no config's name":   {[]string{"config", "get", "spam"}, `it must begin with "config."`},
		"bad config's name":  {[]string{"config", "get", "config..x"}, `"config..x" is not the name of a config`},
		"bad version":        {[]string{"config", "get", "config.a.b", "--version", "new"}, "--version: "},
		"bad expectation":    {[]string{"config", "put", "config.a.b", "x", "--expect-version", "new"}, "--expect-version: "},
		"bad pattern":        {[]string{"config", "list", "[a"}, `the pattern "[a"`},
		"bad limit":          {[]string{"config", "history", "config.a.b", "--limit", "-1"}, "--limit -1"},
		"no content":         {[]string{"config", "put", "config.a.b"}, "standard input is empty"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), tt.args, strings.NewReader(""), &stdout, &stderr); code != exitUsage {
				t.Errorf("it exits with %d, want %d", code, exitUsage)
			}
			if !strings.Contains(stderr.String(), tt.stderr) || !strings.Contains(stderr.String(), "--help'.\n") {
				t.Errorf("stderr:\n%s\nlacks %q or where to find help", &stderr, tt.stderr)
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout:\n%s", &stdout)
			}
		})
	}
}
