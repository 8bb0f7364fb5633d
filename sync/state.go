package sync

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	iofs "io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/kingpinfs/kingpin/serverset"
)

// journalName is the file in the state directory: one record a line, each with
// its own checksum, the later of two records of one name counts.
const journalName = "manifest.journal"

// A journal is written anew, with the live records alone, when it is this
// large and twice what it was after the last time.
const compactAbove = 1 << 20

// record is one line of the journal: what must be known of an item at the next
// start. The contents of files are not in it; they lie in the plain tree, and
// the record says by a checksum whether they are what it speaks of.
type record struct {
	Kind string `json:"kind"` // see the constants
	Name string `json:"name"`

	// A file: what is served, and what was served until that was in place.
	File *fileRecord `json:"file,omitempty"`
	Prev *fileRecord `json:"prev,omitempty"`
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
}

// The kinds of records.
const (
	recordConfig     = "config"
	recordServerset  = "serverset"
	recordMetaconfig = "metaconfig"
	recordDependency = "dependency"
)

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

// journal is the manifest on disk. It is safe for concurrent use.
type journal struct {
	dir string
	log *slog.Logger
	all func() iter.Seq[record] // the live records, for writing it anew

	mu       sync.Mutex // guards all below; held while writing
	file     *os.File
	size     int64 // of the file
	compact  int64 // size after the file was last written anew
	broken   error // why the last write failed; the file must be written anew
	unsynced bool
}

// openJournal reads the journal of a state directory, which is created if it is
// missing, and returns the records that count. Lines that are damaged, as the
// last one is after a crash, are left out with a warning.
func openJournal(dir string, log *slog.Logger) (*journal, []record, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("creating the state directory: %w", err)
	}
	j := &journal{dir: dir, log: log}
	content, err := os.ReadFile(j.path())
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return nil, nil, fmt.Errorf("reading the last state: %w", err)
	}
	records, damaged := parseJournal(content)
	if damaged > 0 {
		log.Warn("parts of the saved state are damaged and are left out; they will be read again from ZooKeeper",
			"file", j.path(), "damaged_records", damaged, "good_records", len(records))
	}
	// A damaged end must not swallow the next record.
	j.broken = errors.New("not yet opened for writing")
	return j, records, nil
}

func (j *journal) path() string { return filepath.Join(j.dir, journalName) }

// parseJournal returns the last record of each name.
func parseJournal(content []byte) (records []record, damaged int) {
	index := map[[2]string]int{}
	for line := range bytes.Lines(content) {
		r, ok := decodeRecord(line)
		if !ok {
			damaged++
			continue
		}
		id := [2]string{r.Kind, r.Name}
		if i, ok := index[id]; ok {
			records[i] = r
			continue
		}
		index[id] = len(records)
		records = append(records, r)
	}
	live := records[:0]
	for _, r := range records {
		if !r.Dropped {
			live = append(live, r)
		}
	}
	return live, damaged
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A line is the checksum in eight hexadecimal digits, a space, the record as
// JSON, and a newline.
const lineHeader = 9

func encodeRecord(r record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding the state of %s %q: %w", r.Kind, r.Name, err)
	}
	line := make([]byte, 0, lineHeader+len(body)+1)
	line = fmt.Appendf(line, "%08x ", crc32.Checksum(body, castagnoli))
	return append(append(line, body...), '\n'), nil
}

func decodeRecord(line []byte) (record, bool) {
	if len(line) <= lineHeader || line[len(line)-1] != '\n' || line[lineHeader-1] != ' ' {
		return record{}, false
	}
	body := line[lineHeader : len(line)-1]
	if string(line[:lineHeader]) != fmt.Sprintf("%08x ", crc32.Checksum(body, castagnoli)) {
		return record{}, false
	}
	var r record
	err := json.Unmarshal(body, &r)
	return r, err == nil && r.Name != ""
}

// Append adds a record. It survives the death of this process when Append
// returns, and a power failure after the next Sync. An error leaves the journal
// to be written anew by the next Append; until then the state on disk is old.
func (j *journal) Append(r record) error {
	line, err := encodeRecord(r)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken == nil {
		_, err := j.file.Write(line)
		if err == nil {
			j.size += int64(len(line))
			j.unsynced = true
			if j.size < max(compactAbove, 2*j.compact) {
				return nil
			}
		}
		j.broken = err
	}
	return j.rewrite(line)
}

// rewrite replaces the journal by one that holds the live records and line.
// mu must be held.
func (j *journal) rewrite(line []byte) error {
	file, size, err := j.writeAnew(line)
	if err != nil {
		j.broken = err
		return fmt.Errorf("saving the state: %w", err)
	}
	if j.file != nil {
		_ = j.file.Close()
	}
	j.file, j.size, j.compact, j.broken, j.unsynced = file, size, size, nil, true
	return nil
}

func (j *journal) writeAnew(line []byte) (_ *os.File, _ int64, err error) {
	// The file stays open for appending, which a rename by path would not allow
	// for with a library that closes it.
	temporary := j.path() + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(temporary)
		}
	}()
	buffered := bufio.NewWriterSize(file, 1<<16)
	for r := range j.all() {
		old, err := encodeRecord(r)
		if err != nil {
			return nil, 0, err
		}
		if _, err := buffered.Write(old); err != nil {
			return nil, 0, err
		}
	}
	if _, err := buffered.Write(line); err != nil {
		return nil, 0, err
	}
	if err := buffered.Flush(); err != nil {
		return nil, 0, err
	}
	if err := file.Sync(); err != nil {
		return nil, 0, err
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, 0, err
	}
	return file, size, os.Rename(temporary, j.path())
}

// Sync makes what has been appended survive a power failure.
func (j *journal) Sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.unsynced || j.file == nil {
		return nil
	}
	j.unsynced = false
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("saving the state: %w", err)
	}
	return nil
}

// Close syncs and closes the journal.
func (j *journal) Close() error {
	err := j.Sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != nil {
		err = errors.Join(err, j.file.Close())
		j.file = nil
	}
	j.broken = iofs.ErrClosed
	return err
}
