package sync

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	iofs "io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// journalName is the file in the state directory: one record a line, each with
// its own checksum, the later of two records of one name counts.
const journalName = "manifest.journal"

// A journal is written anew when most of its records don't count any more, or it
// is twice as large as it was after the last time; but not if it has fewer
// records than compactAbove and is smaller than compactSize.
const (
	compactAbove = 1000
	compactSize  = 16 << 20
)

// journal is the manifest on disk. It is safe for concurrent use. No lock of
// the engine is taken while mu is held.
type journal struct {
	dir string

	mu       sync.Mutex // guards all below; held while appending
	file     *os.File   // nil: it must be written anew
	lines    int        // in the file
	size     int64      // of the file
	compact  int64      // size after the file was last written anew
	damaged  bool       // lines in it are
	unsynced bool
	tee      *bytes.Buffer // collects what is appended while the file is written anew; else nil
	closed   bool
}

var errBroken = errors.New("the file with the state must be written anew first")

// past is what a journal tells.
type past struct {
	records []record // those that count
	good    int      // lines, whether or not they count
	damaged int      // lines
	// holes says that good lines follow damaged ones. What is damaged at the
	// end alone was being written when the power failed or the disk was full.
	holes bool
}

// openJournal reads the journal of a state directory, which is created if it is
// missing. Lines that are damaged, as the last one may be after a crash, are
// left out with a warning, and the journal is to be written anew without them.
// An error says why the state can't be read; the journal is usable all the
// same, and is written anew once it can be.
func openJournal(dir string, log *slog.Logger) (*journal, past, error) {
	j := &journal{dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return j, past{}, fmt.Errorf("creating the state directory: %w", err)
	}
	content, err := os.ReadFile(j.path())
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return j, past{}, fmt.Errorf("reading the last state: %w", err)
	}
	p := parseJournal(content)
	if p.damaged > 0 {
		log.Warn("parts of the saved state are damaged and are left out; they will be read again from ZooKeeper",
			"file", j.path(), "damaged_records", p.damaged, "good_records", len(p.records))
		j.damaged = true
	}
	j.lines, j.size, j.compact = p.good+p.damaged, int64(len(content)), int64(len(content))
	if err := j.open(content); err != nil {
		j.file = nil
		return j, p, fmt.Errorf("opening the state: %w", err)
	}
	return j, p, nil
}

// open opens the file for appending. A torn end must not swallow the next
// record.
func (j *journal) open(content []byte) error {
	file, err := os.OpenFile(j.path(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if len(content) > 0 && content[len(content)-1] != '\n' {
		if _, err := file.WriteString("\n"); err != nil {
			_ = file.Close()
			return err
		}
	}
	j.file = file
	return nil
}

func (j *journal) path() string { return filepath.Join(j.dir, journalName) }

// parseJournal returns the last record of each name, and beside it the earlier
// ones of a file.
func parseJournal(content []byte) past {
	var p past
	var records []record
	index := map[[2]string]int{}
	for line := range bytes.Lines(content) {
		r, ok := decodeRecord(line)
		if !ok {
			p.damaged++
			continue
		}
		p.good++
		p.holes = p.damaged > 0
		id := [2]string{r.Kind, r.Name}
		i, again := index[id]
		if !again {
			index[id] = len(records)
			records = append(records, r)
			continue
		}
		if r.File != nil {
			old := records[i]
			r.earlier = append(old.earlier, old)
			old.earlier = nil
		}
		records[i] = r
	}
	p.records = slices.DeleteFunc(records, func(r record) bool { return r.Dropped })
	return p
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// lineHeader is the length of what stands before a record: its checksum in
// eight hexadecimal digits and a space. The record itself is JSON, and a
// newline ends it.
const lineHeader = 9

// encodeRecord writes a record's line to text.
func encodeRecord(text *bytes.Buffer, r record) error {
	start := text.Len()
	text.WriteString("checksum ")
	if err := json.NewEncoder(text).Encode(r); err != nil {
		text.Truncate(start)
		return fmt.Errorf("encoding the state of %s %q: %w", r.Kind, r.Name, err)
	}
	line := text.Bytes()[start:]
	copy(line, lineHead(line[lineHeader:len(line)-1]))
	return nil
}

// lineHead is what stands before a record.
func lineHead(body []byte) []byte {
	return fmt.Appendf(nil, "%08x ", crc32.Checksum(body, castagnoli))
}

func decodeRecord(line []byte) (record, bool) {
	if len(line) <= lineHeader || line[len(line)-1] != '\n' || line[lineHeader-1] != ' ' {
		return record{}, false
	}
	body := line[lineHeader : len(line)-1]
	if !bytes.Equal(line[:lineHeader], lineHead(body)) {
		return record{}, false
	}
	var r record
	err := json.Unmarshal(body, &r)
	return r, err == nil && r.Name != ""
}

// lineBuffers holds buffers for encoding records: every publication needs one.
var lineBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Append adds records. They survive the death of this process when Append
// returns, and a power failure after the next Sync. After an error the state on
// disk is old until Rewrite has succeeded.
func (j *journal) Append(records ...record) error {
	text, _ := lineBuffers.Get().(*bytes.Buffer)
	defer lineBuffers.Put(text)
	text.Reset()
	for _, r := range records {
		if err := encodeRecord(text, r); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.tee != nil {
		j.tee.Write(text.Bytes())
	}
	switch {
	case j.closed:
		return fmt.Errorf("saving the state: %w", iofs.ErrClosed)
	case j.file == nil:
		return fmt.Errorf("saving the state: %w", errBroken)
	}
	if _, err := j.file.Write(text.Bytes()); err != nil {
		// Half a line may stand at its end.
		_ = j.file.Close()
		j.file = nil
		return fmt.Errorf("saving the state: %w", err)
	}
	j.lines += len(records)
	j.size += int64(text.Len())
	j.unsynced = true
	return nil
}

// WantsRewrite says that the journal is broken or damaged, or so large that it is
// time, where so many records count.
func (j *journal) WantsRewrite(live int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.closed && (j.file == nil || j.damaged ||
		j.lines > max(compactAbove, 2*live) || j.size >= max(compactSize, 2*j.compact))
}

// Rewrite replaces the journal by one that holds the live records, as they are
// when they are asked for, and what is appended meanwhile. Before it does, flush
// is called to make durable what those records speak of. After an error the
// journal is what it was. There must be one Rewrite at a time.
func (j *journal) Rewrite(live iter.Seq[record], flush func() error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("saving the state: %w", err)
		}
	}()
	tee := &bytes.Buffer{}
	j.setTee(tee)
	defer j.setTee(nil)
	if err := os.MkdirAll(j.dir, 0o755); err != nil {
		return err
	}
	temporary := j.path() + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(temporary)
		}
	}()
	lines, err := writeRecords(file, live)
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return j.replace(file, temporary, lines, tee)
}

func (j *journal) setTee(tee *bytes.Buffer) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tee = tee
}

// writeSize is how much of a new journal is gathered before it is written.
const writeSize = 64 << 10

func writeRecords(file *os.File, records iter.Seq[record]) (lines int, err error) {
	var text bytes.Buffer
	for r := range records {
		if err := encodeRecord(&text, r); err != nil {
			return 0, err
		}
		lines++
		if text.Len() >= writeSize {
			if _, err := text.WriteTo(file); err != nil {
				return 0, err
			}
		}
	}
	_, err = text.WriteTo(file)
	return lines, err
}

// replace makes the file of so many lines the journal, with what has been appended
// since the records in it were gathered.
func (j *journal) replace(file *os.File, temporary string, lines int, tee *bytes.Buffer) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return iofs.ErrClosed
	}
	if _, err := file.Write(tee.Bytes()); err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, j.path()); err != nil {
		return err
	}
	if j.file != nil {
		_ = j.file.Close()
	}
	j.file, j.unsynced, j.damaged = file, true, false
	j.lines = lines + bytes.Count(tee.Bytes(), []byte("\n"))
	j.size, j.compact = info.Size(), info.Size()
	return nil
}

// Sync makes what has been appended survive a power failure. Appending goes on
// meanwhile. It must not be called during a Rewrite.
func (j *journal) Sync() error {
	file := j.toSync()
	if file == nil {
		return nil
	}
	if err := file.Sync(); err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.unsynced = true
		return fmt.Errorf("saving the state: %w", err)
	}
	return nil
}

// toSync returns the file if anything of it may not be durable.
func (j *journal) toSync() *os.File {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.unsynced {
		return nil
	}
	j.unsynced = false
	return j.file
}

// Close syncs and closes the journal.
func (j *journal) Close() error {
	err := j.Sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	if j.file != nil {
		err = errors.Join(err, j.file.Close())
		j.file = nil
	}
	return err
}
