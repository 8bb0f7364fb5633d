package store

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVersionOrder(t *testing.T) {
	sorted := []Version{"", "0", "0.5", "9", "10", "10.05", "10.5", "10.51", "1448012345", "1448012345.1", "1448012345.67", "1448012345.678901"}
	for i, v := range sorted {
		for j, w := range sorted {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := v.Compare(w); got != want {
				t.Errorf("%q.Compare(%q) = %d, want %d", v, w, got, want)
			}
		}
	}
	for _, same := range [][2]Version{{"10.50", "10.5"}, {"010", "10"}, {"10.0", "10"}} {
		if same[0].Compare(same[1]) != 0 {
			t.Errorf("%q and %q differ", same[0], same[1])
		}
	}
}

func TestVersionTime(t *testing.T) {
	for v, want := range map[Version]time.Time{
		"":                             {},
		"1448012345.67":                time.Unix(1448012345, 670000000),
		"1448012345.0":                 time.Unix(1448012345, 0),
		"1448012345.1234567891":        time.Unix(1448012345, 123456789),
		"99999999999999999999999":      {},
		"9999999999999999999.99999999": {},
	} {
		if got := v.Time(); !got.Equal(want) {
			t.Errorf("%q.Time() = %v, want %v", v, got, want)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	for _, seed := range []string{"1448012345.67", "0", "", ".", "1.", ".1", "1.2.3", "-1", "1e9", "٣", "1448012345,67", "00.00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseVersion(text)
		if err != nil {
			if KindOf(err) != Invalid {
				t.Fatalf("error %v isn't %v", err, Invalid)
			}
			return
		}
		if string(v) != text {
			t.Fatalf("%q became %q", text, v)
		}
		if after := next(v, time.Unix(0, 0)); !v.Time().IsZero() && after.Compare(v) <= 0 {
			t.Fatalf("next(%q) = %q is not newer", v, after)
		}
		ref := Ref{Path: "/config/x"}
		if back, ok := ref.versionOf(ref.Key(v)); ok != strings.Contains(text, ".") || ok && back != v {
			t.Fatalf("the key %q of %q reads back as %q, %v", ref.Key(v), v, back, ok)
		}
	})
}

func TestKeysOfOthersAreNoHistory(t *testing.T) {
	ref := Ref{Path: "/config/x"}
	keys := []string{"data/config/x", "data/config/x_y_1/2", "data/config/x_1/2/3", "data/config/x_", "data/config/x_1", "data/config/x_1/2"}
	got := slices.DeleteFunc(keys, func(k string) bool { _, ok := ref.versionOf(k); return !ok })
	if len(got) != 1 || got[0] != "data/config/x_1/2" {
		t.Errorf("taken as ours: %q", got)
	}
}
