package sync

import (
	"encoding/hex"
	"fmt"

	"github.com/kingpinfs/kingpin/serverset"
)

// record is one line of the journal: what must be known of an item at the next
// start. The contents of files are not in it; they lie in the plain tree, and
// the record says by a checksum whether they are what it speaks of.
type record struct {
	Kind string `json:"kind"` // see the constants
	Name string `json:"name"`

	// A file: what is served, what was served until that was in place, and the
	// metaconfig that asks for it.
	File  *fileRecord `json:"file,omitempty"`
	Prev  *fileRecord `json:"prev,omitempty"`
	Owner string      `json:"owner,omitempty"`
	// Nothing has ever asked for the file.
	Adopted bool `json:"adopted,omitempty"`
	// A serverset that is held back.
	Held *serverset.Held `json:"held,omitempty"`

	// A metaconfig.
	Version string `json:"version,omitempty"`
	Content []byte `json:"content,omitempty"`
	// A dependency.
	Members []string `json:"members,omitempty"`
	// A metaconfig's or a dependency's.
	Zxid int64 `json:"zxid,omitempty"`

	Dropped bool `json:"dropped,omitempty"`

	// earlier are the records of the same file that were written before this
	// one, latest first. They are not part of the line.
	earlier []record
}

// The kinds of records.
const (
	recordConfig     = "config"
	recordServerset  = "serverset"
	recordMetaconfig = "metaconfig"
	recordDependency = "dependency"
)

func recordKind(k kind) string {
	switch k {
	case dependencyItem:
		return recordDependency
	case metaconfigItem:
		return recordMetaconfig
	case configItem:
		return recordConfig
	default:
		return recordServerset
	}
}

type fileRecord struct {
	served

	SHA256 string `json:"sha256"`
}

func newFileRecord(s *served) *fileRecord {
	return &fileRecord{served: *s, SHA256: hex.EncodeToString(s.Sum[:])}
}

// restore returns the served version that the record speaks of.
func (f *fileRecord) restore() (served, error) {
	s := f.served
	if n, err := hex.Decode(s.Sum[:], []byte(f.SHA256)); err != nil || n != len(s.Sum) || len(f.SHA256) != 2*n {
		return served{}, fmt.Errorf("the checksum %q isn't one", f.SHA256)
	}
	return s, nil
}

// match returns which of the versions that the record names the content is. A
// power failure can bring back any that was on disk before, so the earlier
// records count, too.
func (r record) match(content []byte) (served, bool) {
	for _, f := range []*fileRecord{r.File, r.Prev} {
		if f == nil {
			continue
		}
		if s, err := f.restore(); err == nil && s.is(content) && !s.isZero() {
			return s, true
		}
	}
	for _, earlier := range r.earlier {
		if s, ok := earlier.match(content); ok {
			return s, true
		}
	}
	return served{}, false
}

// record returns what must be known of the item at the next start; false if
// that is nothing. mu must be held.
func (it *item) record() (record, bool) {
	r := record{Kind: recordKind(it.key.kind), Name: it.key.name}
	switch it.key.kind {
	case dependencyItem:
		r.Members, r.Zxid = it.members, it.zxid
		return r, it.zxid != 0
	case metaconfigItem:
		r.Version, r.Content, r.Zxid = string(it.version), it.text(), it.zxid
		return r, it.version != ""
	}
	next := it.pending
	if next == nil && it.written != nil {
		next = &it.written.served
	}
	switch {
	case next != nil && it.serving.isZero():
		r.File = newFileRecord(next)
	case next != nil:
		r.File, r.Prev = newFileRecord(next), newFileRecord(&it.serving)
	case it.serving.isZero():
		return r, false
	default:
		r.File = newFileRecord(&it.serving)
	}
	r.Owner = it.savedFor
	if len(it.owners) > 0 {
		r.Owner = it.owners[0].Metaconfig
	}
	r.Adopted = it.adopted
	if it.guardState != nil && it.guard != nil {
		r.Held = it.guard.State().Held
	}
	return r, true
}
