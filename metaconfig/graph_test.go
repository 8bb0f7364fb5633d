package metaconfig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/store"
)

// fleet is what dependencies contain.
type fleet map[string][]string

func (f fleet) children(_ context.Context, dependency string) ([]string, error) {
	members, found := f[dependency]
	if !found {
		return nil, &store.Error{Op: "reading", Subject: dependency, Kind: store.NotFound}
	}
	if slices.Contains(members, "broken") {
		return nil, &store.Error{Op: "reading", Subject: dependency, Kind: store.Unavailable}
	}
	// ZooKeeper promises no order.
	members = slices.Clone(members)
	rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return members, nil
}

func resolve(t *testing.T, f fleet, roots ...string) Graph {
	t.Helper()
	g, err := Resolve(t.Context(), roots, f.children)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// outline writes a graph in short: each thing behind the way to it.
func outline(g Graph) []string {
	var lines []string
	line := func(via []string, name, note string) {
		lines = append(lines, strings.Join(append(slices.Clone(via), name), ">")+note)
	}
	for _, d := range g.Dependencies {
		note := ""
		if d.Err != nil {
			note = ": " + store.KindOf(d.Err).Error()
		}
		line(d.Via, d.Name, note)
	}
	for _, m := range g.Metaconfigs {
		line(m.Via, m.Name, "")
	}
	for _, b := range g.Bad {
		line(b.Via, b.Name, ": "+store.KindOf(b.Err).Error())
	}
	return lines
}

func TestResolve(t *testing.T) {
	tests := []struct {
		name  string
		fleet fleet
		roots []string
		want  []string
	}{
		{"nothing", fleet{}, nil, nil},
		{"empty", fleet{"a.dep": nil}, []string{"a.dep"}, []string{"a.dep"}},
		{"members", fleet{"a.dep": {"y", "x"}}, []string{"a.dep"}, []string{"a.dep", "a.dep>x", "a.dep>y"}},
		{
			"nested", fleet{"a.dep": {"b.dep", "x"}, "b.dep": {"c.dep", "y"}, "c.dep": {"z"}},
			[]string{"a.dep"},
			[]string{"a.dep", "a.dep>b.dep", "a.dep>b.dep>c.dep", "a.dep>x", "a.dep>b.dep>y", "a.dep>b.dep>c.dep>z"},
		},
		{
			"shortest way", fleet{"a.dep": {"b.dep", "c.dep"}, "b.dep": {"d.dep"}, "c.dep": {"x"}, "d.dep": {"x", "c.dep"}},
			[]string{"a.dep"},
			[]string{"a.dep", "a.dep>b.dep", "a.dep>c.dep", "a.dep>b.dep>d.dep", "a.dep>c.dep>x"},
		},
		{
			"ways that part late", fleet{"a.dep": {"b.dep"}, "b.dep": {"c.dep"}, "c.dep": {"d.dep", "e.dep"}, "d.dep": {"x"}, "e.dep": {"y"}},
			[]string{"a.dep"},
			[]string{
				"a.dep", "a.dep>b.dep", "a.dep>b.dep>c.dep", "a.dep>b.dep>c.dep>d.dep", "a.dep>b.dep>c.dep>e.dep",
				"a.dep>b.dep>c.dep>d.dep>x", "a.dep>b.dep>c.dep>e.dep>y",
			},
		},
		{"itself", fleet{"a.dep": {"a.dep", "x"}}, []string{"a.dep"}, []string{"a.dep", "a.dep>x"}},
		{
			"cycle", fleet{"a.dep": {"b.dep"}, "b.dep": {"c.dep", "x"}, "c.dep": {"a.dep", "y"}},
			[]string{"a.dep"},
			[]string{"a.dep", "a.dep>b.dep", "a.dep>b.dep>c.dep", "a.dep>b.dep>x", "a.dep>b.dep>c.dep>y"},
		},
		{
			"several roots, one twice", fleet{"a.dep": {"x"}, "base.dep": {"x", "y"}},
			[]string{"a.dep", "base.dep", "a.dep"},
			[]string{"a.dep", "base.dep", "a.dep>x", "base.dep>y"},
		},
		{
			"missing and broken ones don't stop the others",
			fleet{"a.dep": {"b.dep", "c.dep", "d.dep"}, "c.dep": {"broken"}, "d.dep": {"x"}},
			[]string{"gone.dep", "a.dep"},
			[]string{"gone.dep: not found", "a.dep", "a.dep>b.dep: not found", "a.dep>c.dep: unavailable", "a.dep>d.dep", "a.dep>d.dep>x"},
		},
		{
			"bad names", fleet{"a.dep": {"x", "..", ".dep", "a\nb", "x.lock", "b.dep.lock"}},
			[]string{"a.dep", "x", ".dep"},
			[]string{"a.dep", "a.dep>x", "x: invalid", ".dep: invalid", "a.dep>..: invalid", "a.dep>.dep: invalid", "a.dep>a\nb: invalid"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := outline(resolve(t, test.fleet, test.roots...)); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestResolveMembers(t *testing.T) {
	g := resolve(t, fleet{"a.dep": {"y", "..", "x.lock", "a.dep", "x"}}, "a.dep")
	if got, want := g.Dependencies[0].Members, []string{"a.dep", "x", "y"}; !slices.Equal(got, want) {
		t.Errorf("members %q, want %q", got, want)
	}
}

// ZooKeeper's order must not show.
func TestResolveIsDeterministic(t *testing.T) {
	f := fleet{}
	for i := range 20 {
		name := fmt.Sprintf("%d.dep", i)
		for j := range 10 {
			f[name] = append(f[name], fmt.Sprintf("%d.dep", (i*7+j*3)%23), fmt.Sprint(i*j))
		}
	}
	want := outline(resolve(t, f, "0.dep"))
	for range 10 {
		if got := outline(resolve(t, f, "0.dep")); !slices.Equal(got, want) {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
	}
}

func TestResolveStops(t *testing.T) {
	cause := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := Resolve(ctx, []string{"a.dep"}, func(context.Context, string) ([]string, error) {
		cancel(cause)
		return []string{"b.dep"}, nil
	})
	if !errors.Is(err, cause) {
		t.Errorf("got %v, want the context's cause", err)
	}
}

func TestTree(t *testing.T) {
	f := fleet{
		"a.dep":    {"b.dep", "c.dep", "gone.dep", "x", "gone"},
		"b.dep":    {"a.dep", "c.dep"},
		"c.dep":    {"y", "f.dep"},
		"f.dep":    {"broken"},
		"self.dep": {"self.dep"},
	}
	exists := func(name string) bool { return name != "gone" }
	tests := []struct{ root, want string }{
		{"a.dep", `a.dep
  b.dep
    a.dep (cycle)
    c.dep
      f.dep (failed)
      y
  c.dep (shown)
  gone (missing)
  gone.dep (missing)
  x
`},
		{"self.dep", "self.dep\n  self.dep (cycle)\n"},
		{"gone.dep", "gone.dep (missing)\n"},
	}
	for _, test := range tests {
		if got := draw(resolve(t, f, test.root).Tree(test.root, exists), ""); got != test.want {
			t.Errorf("got\n%swant\n%s", got, test.want)
		}
	}
}

func draw(n *Node, indent string) string {
	text := indent + n.Name
	if n.Mark != "" {
		text += " (" + string(n.Mark) + ")"
	}
	text += "\n"
	for _, member := range n.Members {
		text += draw(member, indent+"  ")
	}
	return text
}

func TestTreeAsJSON(t *testing.T) {
	f := fleet{"a.dep": {"b.dep", "x"}, "b.dep": {"broken"}}
	got, err := json.Marshal(resolve(t, f, "a.dep").Tree("a.dep", func(string) bool { return true }))
	want := `{"name":"a.dep","members":[{"name":"b.dep","mark":"failed","problem":"reading \"b.dep\": unavailable"},{"name":"x"}]}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

// Dependencies that share what they contain must not make the tree explode.
func TestTreeIsNoLargerThanTheGraph(t *testing.T) {
	f := fleet{}
	const depth = 60
	for i := range depth {
		below := []string{fmt.Sprintf("l%d.dep", i+1), fmt.Sprintf("r%d.dep", i+1)}
		f[fmt.Sprintf("l%d.dep", i)], f[fmt.Sprintf("r%d.dep", i)] = below, below
	}
	tree := resolve(t, f, "l0.dep").Tree("l0.dep", func(string) bool { return true })
	if nodes := strings.Count(draw(tree, ""), "\n"); nodes > 5*depth {
		t.Errorf("the tree has %d nodes", nodes)
	}
}

// FuzzResolve builds a fleet from bytes: each pair makes one a member of
// another.
func FuzzResolve(f *testing.F) {
	f.Add([]byte{0, 1, 1, 2, 2, 0, 2, 200})
	f.Add([]byte{0, 0})
	f.Add([]byte{0, 1, 0, 2, 1, 3, 2, 3, 3, 255})
	f.Fuzz(func(t *testing.T, pairs []byte) {
		name := func(b byte) string {
			if b < 128 {
				return fmt.Sprintf("%d.dep", b%16)
			}
			return fmt.Sprintf("m%d", b%16)
		}
		flt := fleet{}
		for ; len(pairs) >= 2; pairs = pairs[2:] {
			holder := name(pairs[0] % 128)
			flt[holder] = append(flt[holder], name(pairs[1]))
		}
		g := resolve(t, flt, "0.dep")
		seen := map[string]bool{}
		for _, d := range g.Dependencies {
			checkWay(t, flt, seen, d.Via, d.Name)
		}
		for _, m := range g.Metaconfigs {
			checkWay(t, flt, seen, m.Via, m.Name)
		}
		// Whatever is a member of something reached has been reached.
		for holder := range seen {
			for _, member := range flt[holder] {
				if !seen[member] {
					t.Errorf("%q in %q has not been reached", member, holder)
				}
			}
		}
		g.Tree("0.dep", func(string) bool { return true })
	})
}

func checkWay(t *testing.T, f fleet, seen map[string]bool, via []string, name string) {
	t.Helper()
	if seen[name] {
		t.Errorf("%q was reached twice", name)
	}
	seen[name] = true
	way := append(slices.Clone(via), name)
	for i := 1; i < len(way); i++ {
		if !slices.Contains(f[way[i-1]], way[i]) {
			t.Errorf("the way %q is none", way)
		}
	}
}
