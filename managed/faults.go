package managed

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kingpinfs/kingpin/internal/pyjson"
)

// fault is something wrong in a content.
type fault struct {
	offset  int    // where, in bytes
	pointer string // what, a JSON pointer
	err     error
}

type faults []fault

// maxFaults is how many faults of a content one message names.
const maxFaults = 5

// in returns an error that names the first faults of a content and their places,
// in one line; nil if there are none.
func (f faults) in(content []byte) error {
	if len(f) == 0 {
		return nil
	}
	slices.SortFunc(f, func(a, b fault) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), strings.Compare(a.pointer, b.pointer), strings.Compare(a.err.Error(), b.err.Error()))
	})
	shown := f[:min(len(f), maxFaults)]
	if len(shown) == 1 {
		return pyjson.ErrorAt(content, f[0].offset, f[0].pointer, f[0].err)
	}
	var texts []string
	for _, one := range shown {
		texts = append(texts, pyjson.ErrorAt(content, one.offset, one.pointer, one.err).Error())
	}
	if more := len(f) - len(shown); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return errors.New(strings.Join(texts, "; "))
}
