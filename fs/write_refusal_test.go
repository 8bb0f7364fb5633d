package fs

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// refusals are those reports that tell of refused names.
type refusals struct{ reports }

func (refusals) Enabled(context.Context, slog.Level) bool { return true }

func (r refusals) Handle(ctx context.Context, record slog.Record) error {
	if !strings.HasPrefix(record.Message, "nobody can write") {
		return nil
	}
	return r.reports.Handle(ctx, record)
}

// Who tries to write what can't be written is reported once; who tries names for
// temporary files isn't.
func TestRefusalIsReported(t *testing.T) {
	r := make(reports, 10)
	v, _ := mountWritable(t, Config{Logger: slog.New(refusals{r})})
	write := func(name string) error {
		return writeParts(filepath.Join(v.cfg.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, []byte("new\n"))
	}
	check(t, write("config.bak"))
	for range 2 {
		wantErr(t, write("other"), unix.EPERM)
	}
	r.await(t, "name=other", "uid=0", "errno=EPERM", "no config has that name")
	r.none(t)
}
