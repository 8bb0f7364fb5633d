package fs

import (
	"testing"

	"github.com/spf13/pflag"
)

var _ pflag.Value = new(Mode)

func TestMode(t *testing.T) {
	m := Auto
	for _, name := range modes {
		check(t, m.Set(name))
		if m.String() != name {
			t.Errorf("mode %q, want %q", m, name)
		}
	}
	wantErr(t, m.Set("nfs"), nil, `"nfs"`, "auto, fuse, plain")
	if m != Plain {
		t.Errorf("mode %q after a refused one, want %q", m, Plain)
	}
}
