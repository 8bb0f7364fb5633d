package managed

import (
	"fmt"
	"testing"

	"github.com/kingpinfs/kingpin/internal/pyjson"
)

// bigList is a list of 100,000 items, 2 MB.
func bigList() []byte {
	items := make([]string, 100_000)
	for i := range items {
		items[i] = fmt.Sprintf("some item %06d", i)
	}
	return pyjson.Texts(items).Append(nil, false)
}

func BenchmarkListDecode(b *testing.B) {
	content := bigList()
	list := NewList("a", "b", Options{})
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := list.decode(content, nil); !ok {
			b.Fatal(err)
		}
	}
}

func BenchmarkListContains(b *testing.B) {
	list := NewList("a", "b", Options{})
	view, _, err := list.decode(bigList(), nil)
	if err != nil {
		b.Fatal(err)
	}
	list.current.Store(&snapshot[*ListView]{value: view})
	b.ReportAllocs()
	for b.Loop() {
		list.Contains("some item 054321")
	}
}

func BenchmarkRulesCheck(b *testing.B) {
	content := bigList()
	schema, err := CompileSchema([]byte(`{"type": "array", "items": {"type": "string"}}`))
	if err != nil {
		b.Fatal(err)
	}
	for name, rules := range map[string]Rules{"shape": {Shape: ListShape}, "schema": {Schema: schema}} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			for b.Loop() {
				if err := rules.Check(content); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
