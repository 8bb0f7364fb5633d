package managed

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// The values of docs/wire-format.md.
func TestHashedIDGolden(t *testing.T) {
	for id, want := range []int{70, 54, 49, 34} {
		if got := HashedID(fmt.Sprint(id), "exp_one"); got != want {
			t.Errorf("HashedID(%d) = %d, want %d", id, got, want)
		}
	}
}

// decisionsProgram is the rules of docs/wire-format.md in Python's words.
const decisionsProgram = `
import hashlib, json, sys
out = []
for name in json.load(sys.stdin):
    for id in list(range(-150, 150)) + [2**63 - 1, -2**63]:
        hashed = int(hashlib.md5(("decider_" + name + str(id)).encode("utf-8")).hexdigest(), 16) % 100
        out.append([hashed, id % 100])
print(json.dumps(out))
`

func TestDecisionsAgreeWithPython(t *testing.T) {
	names := []string{"exp_one", "Exp_One", "", "ä", strings.Repeat("long", 100)}
	input, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", decisionsProgram)
	cmd.Stdin = strings.NewReader(string(input))
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: run `make deps`, which installs python3", err)
	}
	var wanted [][2]int
	if err := json.Unmarshal(output, &wanted); err != nil {
		t.Fatal(err)
	}
	ids := []int64{}
	for id := range int64(300) {
		ids = append(ids, id-150)
	}
	ids = append(ids, 1<<63-1, -1<<63)
	for i, want := range wanted {
		name, id := names[i/len(ids)], ids[i%len(ids)]
		if got := HashedID(fmt.Sprint(id), name); got != want[0] {
			t.Errorf("HashedID(%d, %q) = %d, and in Python %d", id, name, got, want[0])
		}
		for _, value := range []int{0, want[1], want[1] + 1, 100} {
			v := &DeciderView{map[string]int{strings.ToLower(name): value}}
			if got := v.IsIDInExperiment(id, name); got != (want[1] < value) {
				t.Errorf("at %d, IsIDInExperiment(%d) = %v, and in Python the remainder is %d", value, id, got, want[1])
			}
		}
	}
}

func TestDecisions(t *testing.T) {
	v := &DeciderView{map[string]int{"never": 0, "half": 50, "always": 100, "exp_one": 50}}
	count := func(name string) (n int) {
		for range 1000 {
			if v.DecideExperiment(name) {
				n++
			}
		}
		return n
	}
	if n := count("never"); n != 0 {
		t.Errorf("never is true %d times", n)
	}
	if n := count("unknown"); n != 0 {
		t.Errorf("what isn't there is true %d times", n)
	}
	if n := count("Always"); n != 1000 {
		t.Errorf("always is true %d times of 1000", n)
	}
	if n := count("half"); n < 300 || n > 700 { // thirteen deviations away
		t.Errorf("half is true %d times of 1000", n)
	}
	// 70, 54, 49 and 34 of 100.
	for id, want := range []bool{false, false, true, true} {
		if got := v.IsHashedIDInExperiment(fmt.Sprint(id), "exp_one"); got != want {
			t.Errorf("id %d: %v, want %v", id, got, want)
		}
	}
	// The name is hashed as given, and looked up in lower case.
	if got, want := v.IsHashedIDInExperiment("0", "EXP_ONE"), HashedID("0", "EXP_ONE") < 50; got != want {
		t.Errorf("in upper case: %v, want %v", got, want)
	}
	if value, ok := v.Value("HALF"); !ok || value != 50 {
		t.Errorf("HALF is %d, %v", value, ok)
	}
}

func TestDeciderFile(t *testing.T) {
	m := newMachine(t)
	m.write(t, DeciderFile, `{"a": 10, "b": 20}`)
	d := opened(t, NewDecider(m.options()))
	if got := strings.Join(d.Get().Names(), " "); got != "a b" || d.Err() != nil {
		t.Fatalf("the deciders are %q, %v", got, d.Err())
	}
	// What is bad keeps its value, and doesn't keep others from changing.
	m.write(t, DeciderFile, `{"a": 11, "b": 101, "c": "x"}`)
	awaitChange(t, d.Reader, func() bool { return d.Err() != nil })
	a, _ := d.Get().Value("a")
	b, _ := d.Get().Value("b")
	if _, ok := d.Get().Value("c"); a != 11 || b != 20 || ok {
		t.Errorf("the deciders are %v", d.Get().values)
	}
	if err := d.Err().Error(); !strings.Contains(err, `"b": the value 101`) || !strings.Contains(err, `"c"`) {
		t.Errorf("the error is %s", err)
	}
}

func TestDecisionsDontAllocate(t *testing.T) {
	d := NewDecider(Options{})
	d.current.Store(&snapshot[*DeciderView]{value: &DeciderView{map[string]int{"exp_one": 50}}})
	if n := testing.AllocsPerRun(100, func() {
		d.DecideExperiment("exp_one")
		d.IsIDInExperiment(17, "exp_one")
		d.IsHashedIDInExperiment("12345678", "exp_one")
	}); n != 0 {
		t.Errorf("three decisions allocate %v times", n)
	}
}

func BenchmarkDecider(b *testing.B) {
	d := NewDecider(Options{})
	d.current.Store(&snapshot[*DeciderView]{value: &DeciderView{map[string]int{"exp_one": 50}}})
	b.Run("random", func(b *testing.B) {
		for b.Loop() {
			d.DecideExperiment("exp_one")
		}
	})
	b.Run("id", func(b *testing.B) {
		for b.Loop() {
			d.IsIDInExperiment(17, "exp_one")
		}
	})
	b.Run("hashed", func(b *testing.B) {
		for b.Loop() {
			d.IsHashedIDInExperiment("12345678", "exp_one")
		}
	})
}
