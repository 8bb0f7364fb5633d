package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/register"
)

// TestEndedBeforeTheCommand has the signal that ends us come before we listen for
// those that end the command, which then isn't run.
func TestEndedBeforeTheCommand(t *testing.T) {
	var output bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &output, stderr: &output, log: slog.New(slog.DiscardHandler)}
	ctx, signalled := context.WithCancel(t.Context())
	signalled()
	err := a.superviseRegistered(ctx, register.New(register.Config{}), 0, []string{"echo", "it runs"})
	if err != nil || output.Len() > 0 {
		t.Errorf("it returned %v, and wrote %q", err, &output)
	}
}
