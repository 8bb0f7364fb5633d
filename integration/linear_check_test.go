package integration

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/kingpinfs/kingpin/store"
)

// What was done must look as if everything had happened at one moment each,
// between its call and its return, one after the other: it must be linearizable.
// porcupine looks for such an order.
//
// There are thousands of operations, sixteen of them at any time, and some whose
// end nobody knows. Two things keep the search short, and take nothing from the
// check:
//
//   - Versions grow with every write. So an operation that was told a version
//     comes right after the last of the writes that were told an older one, but
//     for writes that were told none. See timeline.
//   - Entries are appended and never taken away, and the last reading comes after
//     everything else. So an addition can only have been made where the last
//     reading has its entries.
//
// Deciders are independent of each other: each is checked by itself.

// verdictTime bounds the search. It takes well below a second; one that doesn't
// end is a failure.
const verdictTime = time.Minute

// place is where in the order of versions an operation stands: version is the one
// it was told, if any, and after the newest older one that a write was told.
type place struct{ version, after string }

// timeline are the versions that writes of one thing were told, sorted.
type timeline []store.Version

func newTimeline[W any](writes []W, told func(W) string) timeline {
	var t timeline
	for _, w := range writes {
		if v := told(w); v != "" {
			t = append(t, store.Version(v))
		}
	}
	slices.SortFunc(t, store.Version.Compare)
	return t
}

// write returns the place of a write, and read that of a reading.
func (t timeline) write(version string) place {
	i, _ := slices.BinarySearchFunc(t, store.Version(version), store.Version.Compare)
	return t.place(version, i)
}

func (t timeline) read(version string) place {
	i, found := slices.BinarySearchFunc(t, store.Version(version), store.Version.Compare)
	if found {
		i++
	}
	return t.place(version, i)
}

// place is of an operation before which i versions of the timeline come.
func (t timeline) place(version string, i int) place {
	switch {
	case version == "":
		return place{}
	case i == 0:
		return place{version: version}
	default:
		return place{version, string(t[i-1])}
	}
}

// fits tells whether an operation may come when last was the last version that a
// write was told.
func (p place) fits(last string) bool { return p.version == "" || p.after == last }

// moment is what is checked of a thing at a moment: value is the number of the
// list's entries, or a decider's value, -1 for none.
type moment struct {
	value int
	last  string // the last version that a write was told
}

// step is an operation on a list or a decider.
type step struct {
	place

	writes bool
	value  int // what is written or read
	// from is what must have been there before a write; anything if it is
	// anything.
	from int
}

const (
	anything = -1
	absent   = -1
	// impossible is a length that the list never has.
	impossible = -2
)

func model(initial int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return moment{value: initial} },
		Step: func(state, input, _ any) (bool, any) {
			now, isMoment := state.(moment)
			step, isStep := input.(step)
			switch {
			case !isMoment || !isStep, !step.fits(now.last):
				return false, state
			case !step.writes:
				return step.value == now.value, now
			case step.from != anything && step.from != now.value:
				return false, now
			}
			return true, moment{step.value, cmp.Or(step.version, now.last)}
		},
	}
}

func operation(s span, what step) porcupine.Operation {
	return porcupine.Operation{Input: what, Call: s.call, Return: s.end}
}

func linearizable(initial int, operations []porcupine.Operation) error {
	switch result := porcupine.CheckOperationsTimeout(model(initial), operations, verdictTime); result {
	case porcupine.Ok:
		return nil
	case porcupine.Illegal:
		return errors.New("there is no order in which this can have happened")
	default:
		return fmt.Errorf("no verdict within %v: %v", verdictTime, result)
	}
}

// checkList says what is wrong with the record of the list. Its last reading must
// have been made when everything else had ended.
func (r *record) checkList() error {
	if len(r.lists) == 0 {
		return errors.New("nobody has read the list")
	}
	final := slices.MaxFunc(r.lists, func(a, b listReading) int { return cmp.Compare(a.call, b.call) }).entries
	at := make(map[string]int, len(final)) // by entry
	for i, entry := range final {
		at[entry] = i
	}
	versions := newTimeline(r.adds, func(a addition) string { return a.version })
	var operations []porcupine.Operation
	for _, a := range r.adds {
		from, found := at[a.entries[0]]
		switch {
		case a.answer == refused, a.answer == unknown && !found:
			continue // that it hasn't happened is shown by the last reading
		case !found || len(final) < from+len(a.entries) || !slices.Equal(final[from:from+len(a.entries)], a.entries):
			from = impossible
		}
		if a.answer == unknown {
			a.end = never
		}
		operations = append(operations, operation(a.span, step{versions.write(a.version), true, from + len(a.entries), from}))
	}
	for _, reading := range r.lists {
		length := len(reading.entries)
		if length > len(final) || !slices.Equal(final[:length], reading.entries) {
			length = impossible
		}
		operations = append(operations, operation(reading.span, step{place: versions.read(reading.version), value: length}))
	}
	if err := linearizable(0, operations); err != nil {
		return fmt.Errorf("the list: %w", err)
	}
	return nil
}

// checkDeciders says what is wrong with the record of the deciders.
func (r *record) checkDeciders() error {
	byName := map[string][]setting{}
	for _, s := range r.sets {
		byName[s.name] = append(byName[s.name], s)
	}
	for _, reading := range r.tables {
		for name := range reading.values {
			if _, known := byName[name]; !known {
				return fmt.Errorf("decider %q was read, and nobody has set it", name)
			}
		}
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if err := linearizable(absent, r.ofDecider(name, byName[name])); err != nil {
			errs = append(errs, fmt.Errorf("decider %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// ofDecider returns what was done to one decider.
func (r *record) ofDecider(name string, sets []setting) []porcupine.Operation {
	versions := newTimeline(sets, func(s setting) string { return s.version })
	var operations []porcupine.Operation
	for _, s := range sets {
		switch s.answer {
		case refused:
			continue
		case unknown:
			s.end = never
		}
		operations = append(operations, operation(s.span, step{versions.write(s.version), true, s.value, anything}))
	}
	for _, reading := range r.tables {
		if reading.only != "" && reading.only != name {
			continue
		}
		value, found := reading.values[name]
		if !found {
			value = absent
		}
		operations = append(operations, operation(reading.span, step{place: versions.read(reading.version), value: value}))
	}
	return operations
}

// checkNothingIsLost says what of all that was acknowledged isn't there at the
// end, and what is there that nobody has, or that was refused. It needs no model.
func (r *record) checkNothingIsLost(entries []string, deciders map[string]int) error {
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	there := map[string]int{}
	for _, entry := range entries {
		there[entry]++
	}
	for _, a := range r.adds {
		for _, entry := range a.entries {
			switch times := there[entry]; {
			case times > 1, times == 1 && a.answer == refused, times == 0 && a.answer == done:
				complain("entry %q, whose addition is %v, is there %d times", entry, a.answer, times)
			}
			delete(there, entry)
		}
	}
	for entry := range there {
		complain("entry %q was never added", entry)
	}
	possible := map[string]map[int]bool{}
	mustBe := map[string]bool{}
	for _, s := range r.sets {
		if possible[s.name] == nil {
			possible[s.name] = map[int]bool{}
		}
		possible[s.name][s.value] = possible[s.name][s.value] || s.answer != refused
		mustBe[s.name] = mustBe[s.name] || s.answer == done
	}
	for name, value := range deciders {
		if !possible[name][value] {
			complain("decider %q is %d, which nobody has set it to", name, value)
		}
		delete(mustBe, name)
	}
	for name, must := range mustBe {
		if must {
			complain("decider %q was set and isn't there", name)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("%d things are wrong:\n%s", len(wrong), strings.Join(wrong[:min(len(wrong), 20)], "\n"))
}

// at is a span, for records that are made up.
func at(call, end int64) span { return span{call, end} }

func told(version string) outcome { return outcome{done, version} }

// The checks above must be able to fail. Each record here has one thing wrong with
// it, or none.
func TestTheCheckOfListsCanFail(t *testing.T) {
	list := func(call, end int64, version string, entries ...string) listReading {
		return listReading{at(call, end), entries, version}
	}
	for name, test := range map[string]struct {
		adds  []addition
		lists []listReading
		good  bool
	}{
		"one after the other": {
			[]addition{{at(0, 1), told("1.0"), []string{"a", "b"}}, {at(2, 3), told("2.0"), []string{"c"}}},
			[]listReading{list(1, 2, "1.0", "a", "b"), list(4, 5, "2.0", "a", "b", "c")}, true,
		},
		"at the same time, in either order": {
			[]addition{{at(0, 9), told("2.0"), []string{"b"}}, {at(0, 9), told("1.0"), []string{"a"}}},
			[]listReading{list(0, 9, "1.0", "a"), list(0, 9, ""), list(10, 11, "", "a", "b")}, true,
		},
		"an unknown one that happens later": {
			[]addition{{at(0, 1), outcome{answer: unknown}, []string{"a"}}, {at(2, 3), told("1.0"), []string{"b"}}},
			[]listReading{list(4, 5, "1.0", "b"), list(6, 7, "", "b", "a")}, true,
		},
		"an unknown one that never happens": {
			[]addition{{at(0, 1), outcome{answer: unknown}, []string{"a"}}, {at(2, 3), outcome{}, []string{"b"}}},
			[]listReading{list(6, 7, "", "b")}, true,
		},
		"an old file of this machine's": {
			[]addition{{at(1, 2), outcome{}, []string{"a"}}, {at(3, 4), outcome{}, []string{"b"}}},
			[]listReading{list(0, 9, "", "a"), list(10, 11, "", "a", "b")}, true,
		},
		"a lost update": {
			[]addition{{at(0, 5), told("1.0"), []string{"a"}}, {at(1, 6), told("2.0"), []string{"b"}}},
			[]listReading{list(7, 8, "2.0", "b")}, false,
		},
		"a lost update that was seen": {
			[]addition{{at(0, 1), told("1.0"), []string{"a"}}, {at(4, 6), told("2.0"), []string{"b"}}},
			[]listReading{list(2, 3, "1.0", "a"), list(7, 8, "2.0", "b")}, false,
		},
		"a stale read": {
			[]addition{{at(0, 1), told("1.0"), []string{"a"}}, {at(2, 3), told("2.0"), []string{"b"}}},
			[]listReading{list(4, 5, "", "a"), list(6, 7, "", "a", "b")}, false,
		},
		"a stale read that knows its version": {
			[]addition{{at(0, 1), told("1.0"), []string{"a"}}, {at(2, 3), told("2.0"), []string{"b"}}},
			[]listReading{list(4, 5, "1.0", "a"), list(6, 7, "2.0", "a", "b")}, false,
		},
		"a read of what comes later": {
			[]addition{{at(2, 3), outcome{}, []string{"a"}}},
			[]listReading{list(0, 1, "", "a"), list(6, 7, "", "a")}, false,
		},
		"two reads that disagree about the order": {
			[]addition{{at(0, 9), outcome{}, []string{"a"}}, {at(0, 9), outcome{}, []string{"b"}}},
			[]listReading{list(1, 2, "", "b"), list(10, 11, "", "a", "b")}, false,
		},
		"a read that goes back": {
			[]addition{{at(0, 9), outcome{}, []string{"a"}}},
			[]listReading{list(1, 2, "", "a"), list(3, 4, ""), list(10, 11, "", "a")}, false,
		},
		"half an addition": {
			[]addition{{at(0, 1), outcome{}, []string{"a", "b"}}},
			[]listReading{list(2, 3, "", "a")}, false,
		},
		"an entry twice": {
			[]addition{{at(0, 1), outcome{}, []string{"a"}}},
			[]listReading{list(2, 3, "", "a", "a")}, false,
		},
		"what was refused": {
			[]addition{{at(0, 1), outcome{answer: refused}, []string{"a"}}},
			[]listReading{list(2, 3, "", "a")}, false,
		},
		"an old version with a new content": {
			[]addition{{at(0, 9), told("1.0"), []string{"a"}}, {at(0, 9), told("2.0"), []string{"b"}}},
			[]listReading{list(0, 9, "1.0", "a", "b"), list(10, 11, "2.0", "a", "b")}, false,
		},
		"versions against the order of time": {
			[]addition{{at(0, 1), told("2.0"), []string{"a"}}, {at(2, 3), told("1.0"), []string{"b"}}},
			[]listReading{list(6, 7, "2.0", "a", "b")}, false,
		},
		"nobody looked": {good: false},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&record{adds: test.adds, lists: test.lists}).checkList()
			if test.good && err != nil || !test.good && err == nil {
				t.Errorf("the verdict is %v", err)
			}
		})
	}
}

func TestTheCheckOfDecidersCanFail(t *testing.T) {
	table := func(call, end int64, version string, value int) tableReading {
		return tableReading{span: at(call, end), version: version, values: map[string]int{"x": value}}
	}
	for name, test := range map[string]struct {
		sets   []setting
		tables []tableReading
		good   bool
	}{
		"one after the other": {
			[]setting{{at(0, 1), told("1.0"), "x", 10}, {at(2, 3), told("3.0"), "x", 20}},
			[]tableReading{table(1, 2, "2.0", 10), table(4, 5, "3.0", 20)}, true,
		},
		"an unknown one that was overtaken": {
			[]setting{{at(0, 1), outcome{answer: unknown}, "x", 10}, {at(2, 3), told("2.0"), "x", 20}},
			[]tableReading{table(4, 5, "2.0", 20)}, true,
		},
		"an unknown one that happens late": {
			[]setting{{at(0, 1), outcome{answer: unknown}, "x", 10}, {at(2, 3), told("2.0"), "x", 20}},
			[]tableReading{table(4, 5, "", 20), table(6, 7, "", 10)}, true,
		},
		"a lost update": {
			[]setting{{at(0, 1), told("1.0"), "x", 10}, {at(2, 3), told("2.0"), "x", 20}},
			[]tableReading{table(4, 5, "", 10)}, false,
		},
		"a stale read": {
			[]setting{{at(0, 1), outcome{}, "x", 10}, {at(2, 3), outcome{}, "x", 20}},
			[]tableReading{table(4, 5, "", 10), table(6, 7, "", 20)}, false,
		},
		"a value that was made twice": {
			[]setting{{at(0, 9), outcome{}, "x", 10}, {at(0, 9), outcome{}, "x", 20}},
			[]tableReading{table(1, 2, "", 10), table(3, 4, "", 20), table(10, 11, "", 10)}, false,
		},
		"what was refused": {
			[]setting{{at(0, 1), outcome{}, "x", 10}, {at(2, 3), outcome{answer: refused}, "x", 20}},
			[]tableReading{table(4, 5, "", 20)}, false,
		},
		"one that vanishes": {
			[]setting{{at(0, 1), outcome{}, "x", 10}},
			[]tableReading{{span: at(4, 5)}}, false,
		},
		"one that nobody has set": {
			[]setting{{at(0, 1), outcome{}, "y", 10}},
			[]tableReading{{span: at(4, 5), values: map[string]int{"x": 1, "y": 10}}}, false,
		},
		"versions against the order of time": {
			[]setting{{at(0, 1), told("2.0"), "x", 10}, {at(2, 3), told("1.0"), "x", 20}},
			[]tableReading{table(4, 5, "2.0", 10)}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&record{sets: test.sets, tables: test.tables}).checkDeciders()
			if test.good && err != nil || !test.good && err == nil {
				t.Errorf("the verdict is %v", err)
			}
		})
	}
}

func TestTheCheckOfTheEndCanFail(t *testing.T) {
	r := &record{
		adds: []addition{
			{at(0, 1), told("1.0"), []string{"a", "b"}}, {at(0, 1), outcome{answer: refused}, []string{"c"}}, {at(0, 1), outcome{answer: unknown}, []string{"d"}},
		},
		sets: []setting{
			{at(0, 1), told("1.0"), "x", 10}, {at(0, 1), outcome{answer: refused}, "x", 20}, {at(0, 1), outcome{answer: unknown}, "y", 30}, {at(0, 1), outcome{answer: refused}, "z", 30},
		},
	}
	for _, test := range []struct {
		entries  []string
		deciders map[string]int
		want     string // "" for nothing
	}{
		{[]string{"a", "b"}, map[string]int{"x": 10}, ""},
		{[]string{"d", "a", "b"}, map[string]int{"x": 10, "y": 30}, ""},
		{[]string{"a"}, map[string]int{"x": 10}, `"b", whose addition is done, is there 0 times`},
		{[]string{"a", "b", "a"}, map[string]int{"x": 10}, `"a", whose addition is done, is there 2 times`},
		{[]string{"a", "b", "c"}, map[string]int{"x": 10}, `"c", whose addition is refused, is there 1 times`},
		{[]string{"a", "b", "e"}, map[string]int{"x": 10}, `"e" was never added`},
		{[]string{"a", "b"}, nil, `"x" was set and isn't there`},
		{[]string{"a", "b"}, map[string]int{"x": 20}, `"x" is 20, which nobody has set`},
		{[]string{"a", "b"}, map[string]int{"x": 10, "z": 30}, `"z" is 30, which nobody has set`},
		{[]string{"a", "b"}, map[string]int{"x": 10, "w": 1}, `"w" is 1, which nobody has set`},
	} {
		err := r.checkNothingIsLost(test.entries, test.deciders)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q and %v: %v, want %q", test.entries, test.deciders, err, test.want)
		}
	}
}
