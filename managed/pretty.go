package managed

import (
	"bytes"
	"fmt"

	"github.com/kingpinfs/kingpin/internal/pyjson"
	"github.com/kingpinfs/kingpin/store"
)

// Pretty is a text as people like to see it.
type Pretty struct {
	// Text has each item on a line of its own, if it is JSON that a program wrote
	// in one line. Else it is the text itself.
	Text []byte

	indented, sorted bool
}

// Prettify makes a text that a program wrote readable. Texts of other forms stay
// as they are: people made them so.
func Prettify(content []byte) Pretty {
	v, err := pyjson.Parse(content)
	if err != nil {
		return Pretty{Text: content}
	}
	isSorted := bytes.Equal(v.Append(nil, true), content)
	if !isSorted && !bytes.Equal(v.Append(nil, false), content) {
		return Pretty{Text: content}
	}
	return Pretty{append(v.AppendIndented(nil), '\n'), true, isSorted}
}

// Restore returns what an edited Text is as a content, in the form that it had
// before. The error is Invalid and says where the text is wrong.
func (p Pretty) Restore(edited []byte) ([]byte, error) {
	if !p.indented {
		return edited, nil
	}
	v, err := pyjson.Parse(edited)
	if err != nil {
		return nil, fmt.Errorf("%w JSON: %w", store.Invalid, err)
	}
	return v.Append(nil, p.sorted), nil
}
