package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestExample runs a server and a client, as the comment of the package does.
func TestExample(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	in, out := io.Pipe()
	served := make(chan error, 1)
	go func() { served <- run(ctx, []string{"server"}, out) }()
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	endpoint := strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
	file := filepath.Join(t.TempDir(), "discovery.users.prod")
	if err := os.WriteFile(file, []byte(endpoint+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, args := range [][]string{{"--hosts", endpoint}, {"--serverset", file}} {
		var said bytes.Buffer
		if err := run(ctx, append([]string{"client"}, args...), &said); err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll("Ada is number N\nnumber N is Ada\n1 rounds\n", "N", string(rune('1'+i)))
		if said.String() != want {
			t.Errorf("with %q it said:\n%swant:\n%s", args, said.String(), want)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"nonsense"}, {"client"}, {"client", "--hosts", "nonsense"}, {"server", "--nonsense"}} {
		if err := run(context.Background(), args, io.Discard); err == nil {
			t.Errorf("run(%q) succeeded", args)
		}
	}
}
