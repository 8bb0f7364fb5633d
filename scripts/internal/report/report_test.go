package report

import (
	"strings"
	"testing"
)

func TestAlign(t *testing.T) {
	var out strings.Builder
	lines := [][]string{{"what", "n", "unit"}, {"µ", "100", "s"}, {"longer", "1", ""}}
	if err := Align(&out, lines, map[int]bool{1: true}); err != nil {
		t.Fatal(err)
	}
	want := "what      n  unit\nµ       100  s\nlonger    1\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

func TestProgressOffATerminal(t *testing.T) {
	var out strings.Builder
	p := NewProgress("bench", &out)
	p.Step("counting to %d", 2)
	p.Count(1, 2)
	p.End()
	if want := "bench: counting to 2\n"; out.String() != want {
		t.Errorf("got %q, want %q", &out, want)
	}
}

func TestThreeDigits(t *testing.T) {
	for want, x := range map[string]float64{"0.00": 0, "1.23": 1.234, "12.3": 12.34, "123": 123.4, "1234": 1234.4} {
		if got := ThreeDigits(x); got != want {
			t.Errorf("%v is written %q, not %q", x, got, want)
		}
	}
}
