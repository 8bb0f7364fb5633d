package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/managed"
)

const (
	manyEntries  = 1000 // to be added to the list, and acknowledged
	manyDeciders = 500  // to be set, and acknowledged
	manyWriters  = 16
	// rivals are deciders that everybody sets again and again; rival begins their
	// names.
	rivals        = 4
	rival         = "rival_"
	rivalSettings = 6 // tried by each writer
	// calm is how many writes end between two failures.
	calm = 10
	// betweenReadings is how many writes end between two readings of one reader.
	betweenReadings = 12
	// seedEnv repeats a run's choices.
	seedEnv = "KINGPIN_LINEAR_SEED"
)

// Whatever is acknowledged is never lost, by whichever way it was written, and
// what everybody does looks like one thing after another: while sixteen writers
// write to one list and the deciders, others read them, and connections to
// ZooKeeper and S3 are cut and locks lost.
func TestNoAcknowledgedWriteIsLost(t *testing.T) {
	f := newFleet(t, versitygw)
	f.run("dependency", "create", "web.dep")
	listName := f.newConfig(sharedDomain, sharedKey, "web.dep")
	f.newConfig("admin", "decider", "web.dep")
	f.put(listName, "[]")
	f.put(managed.DeciderFile, "{}")

	seed := newSeed(t)
	network := newBadNetwork(t, f, 3, rand.New(rand.NewPCG(seed, 0)))
	m := f.startMonitor(monitorConfig{Mode: "fuse", Dependencies: []string{"web.dep"}, Env: network.route(f, 2).env()})
	r := newRecord()
	writers := make([]writer, manyWriters)
	for i := range writers {
		switch way := network.route(f, i); {
		case i%4 == 0:
			writers[i] = m.startMountProgram()
		case i%8 < 4:
			writers[i] = &commander{f, way}
		default:
			writers[i] = f.startProgram(way)
		}
	}

	// Failures and readings go on for as long as anybody writes.
	over := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { r.disturb(f, network, 3, over) })
	for i := range 2 {
		reader := f.startProgram(network.route(f, i))
		others.Go(func() { r.readByProgram(t, reader, over) })
	}
	others.Go(func() { r.readByCommand(t, f, network.route(f, 0), over) })
	others.Go(func() { r.readFiles(t, m, over) })
	err := r.writeAll(writers, demand{manyEntries, manyDeciders, rivalSettings}, seed)
	close(over)
	others.Wait()
	if err != nil {
		t.Fatal(err)
	}

	// The last readings, over a good network.
	reader := f.startProgram(route{f.zkAddr, f.server.endpoint})
	entries, deciders := r.mustReadByProgram(t, reader)
	t.Log(r.summary())
	began := time.Now()
	if err := errors.Join(r.checkNothingIsLost(entries, deciders), r.checkList(), r.checkDeciders()); err != nil {
		t.Errorf("with %s=%d: %v", seedEnv, seed, err)
	}
	t.Logf("checked in %v", time.Since(began).Round(time.Millisecond))
	await(t, "this machine's files to have everything", func() error {
		if got, err := listFile(m.config(listName)); err != nil || !slices.Equal(got, entries) {
			return fmt.Errorf("the list has %d entries of %d, %w", len(got), len(entries), err)
		}
		for name, value := range deciders {
			if err := has(m.config("decider/"+name), strconv.Itoa(value)+"\n"); err != nil {
				return err
			}
		}
		return nil
	})
}

// A Python writer sets the pointer whatever it is, so its lock must hold; but it
// loses nothing of ours, and ours nothing of its, when connections are cut.
func TestNothingIsLostBesidePython(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.put(f.newConfig(sharedDomain, sharedKey), "[]")
	f.put(f.newConfig("admin", "decider"), "{}")
	seed := newSeed(t)
	network := newBadNetwork(t, f, 2, rand.New(rand.NewPCG(seed, 0)))
	r := newRecord()
	writers := []writer{
		f.startProgram(network.route(f, 0)), &commander{f, network.route(f, 1)},
		pythonProgram{f.startPythonWriter(managedPath(sharedDomain, sharedKey))},
		pythonProgram{f.startPythonWriter(managedPath(sharedDomain, sharedKey))},
	}
	over := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { r.disturb(f, network, 0, over) })
	others.Go(func() { r.readByCommand(t, f, network.route(f, 0), over) })
	err := r.writeAll(writers, demand{entries: 160}, seed)
	close(over)
	others.Wait()
	if err != nil {
		t.Fatal(err)
	}
	entries, deciders := r.mustReadByProgram(t, f.startProgram(route{f.zkAddr, f.server.endpoint}))
	t.Log(r.summary())
	// The last reading's version may be one that wasn't told.
	r.lists[len(r.lists)-1].version = ""
	if err := errors.Join(r.checkNothingIsLost(entries, deciders), r.checkList()); err != nil {
		t.Errorf("with %s=%d: %v", seedEnv, seed, err)
	}
}

// newSeed returns the seed of a test's choices, and prints it.
func newSeed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d", seedEnv, seed)
	return seed
}

// demand is how many writes there are to be.
type demand struct {
	entries, deciders int // that are acknowledged
	rivals            int // that each writer tries
}

// writeAll returns when all writes that are demanded have been acknowledged.
func (r *record) writeAll(writers []writer, many demand, seed uint64) error {
	var all, given int // shares of the deciders
	for _, w := range writers {
		all += w.pace()
	}
	var group errgroup.Group
	for i, w := range writers {
		part := func(many, from, to, of int) int { return many*to/of - many*from/of }
		todo := work{
			r: r, w: w, id: i, rand: rand.New(rand.NewPCG(seed, uint64(i+1))),
			entries:  part(many.entries, i, i+1, len(writers)),
			deciders: part(many.deciders, given, given+w.pace(), all),
			rivals:   many.rivals,
		}
		given += w.pace()
		group.Go(todo.do)
	}
	return group.Wait()
}

// work is what one writer is to do.
type work struct {
	r    *record
	w    writer
	id   int
	rand *rand.Rand

	entries, deciders int // still to be acknowledged
	rivals            int // still to be tried
	made              int // names so far

	acknowledged time.Time // when something last was
}

// do does it, in any order. What wasn't acknowledged is given up, and something
// else written in its place.
func (w *work) do() error {
	w.acknowledged = time.Now()
	for w.entries+w.deciders+w.rivals > 0 {
		if time.Since(w.acknowledged) > 2*patience {
			return fmt.Errorf("writer %d (%T): nothing was acknowledged for %v", w.id, w.w, 2*patience)
		}
		batches := (w.entries + w.batch() - 1) / w.batch()
		var err error
		switch pick := w.rand.IntN(batches + w.deciders + w.rivals); {
		case pick < batches:
			err = w.add()
		case pick < batches+w.deciders:
			err = w.set(w.name("decider"), w.rand.IntN(managed.MaxDecider+1), &w.deciders)
		default:
			// Each value is set once: a second time would change nothing.
			w.rivals--
			err = w.set(fmt.Sprintf("%s%d", rival, w.rand.IntN(rivals)), w.id+manyWriters*w.rivals, new(int))
		}
		if err != nil {
			return fmt.Errorf("writer %d (%T): %w", w.id, w.w, err)
		}
	}
	return nil
}

// batch is how many entries are added at once, on average: the slower the writer,
// the more.
func (w *work) batch() int { return max(1, 16/w.w.pace()) }

// name returns one that nobody has used.
func (w *work) name(what string) string {
	w.made++
	return fmt.Sprintf("%s_%d_%d", what, w.id, w.made)
}

func (w *work) add() error {
	var entries []string
	for range min(w.entries, 1+w.rand.IntN(2*w.batch())) {
		entries = append(entries, w.name("entry"))
	}
	call := w.r.now()
	o, err := w.w.add(entries)
	if err != nil {
		return err
	}
	wrote(w.r, &w.r.adds, addition{w.r.until(call), o, entries})
	if o.answer == done {
		w.entries -= len(entries)
		w.acknowledged = time.Now()
	}
	return nil
}

func (w *work) set(name string, value int, left *int) error {
	call := w.r.now()
	o, err := w.w.set(name, value)
	if err != nil {
		return err
	}
	wrote(w.r, &w.r.sets, setting{w.r.until(call), o, name, value})
	if o.answer == done {
		*left--
		w.acknowledged = time.Now()
	}
	return nil
}

// disturb breaks connections again and again, and takes locks away, one time in
// so many; never if that is 0.
func (r *record) disturb(f *fleet, network *badNetwork, takeLocks int, over <-chan struct{}) {
	var cuts, locks int
	for r.awaitProgress(calm, over) {
		if takeLocks > 0 && network.rand.IntN(takeLocks) == 0 {
			locks += f.takeLock()
			continue
		}
		network.misbehave(over)
		cuts++
	}
	f.t.Logf("%d ways were broken and %d locks lost", cuts, locks)
	if cuts == 0 || takeLocks > 0 && locks == 0 {
		f.t.Error("too little went wrong to show anything")
	}
}

// takeLock does to whoever holds one of the locks what the end of its session
// does: somebody else may take it, and the holder goes on. It returns how many
// were taken.
func (f *fleet) takeLock() (taken int) {
	for _, path := range []string{managedPath(sharedDomain, sharedKey), managedPath(managed.DeciderDomain, managed.DeciderKey)} {
		lock := f.zk.chroot + path + ".lock"
		names, _, err := f.zk.conn.Children(lock)
		if err != nil {
			f.t.Error(err)
			return taken
		}
		if holder := lockHolder(f.t, names); holder != "" {
			switch err := f.zk.conn.Delete(lock+"/"+holder, -1); {
			case err == nil:
				taken++
			case !errors.Is(err, zk.ErrNoNode):
				f.t.Error(err)
			}
		}
	}
	return taken
}

func managedPath(domain, key string) string { return "/config/manageddata/" + domain + "/" + key }

// readByProgram reads both values again and again. Readings that fail tell
// nothing.
func (r *record) readByProgram(t testing.TB, p *program, over <-chan struct{}) {
	t.Helper()
	for r.awaitProgress(betweenReadings, over) {
		if _, _, err := r.fetch(p); err != nil && !isCut(err) {
			t.Error(err)
		}
	}
}

func isCut(err error) bool {
	_, problem := outcomeOf("", err)
	return problem == nil
}

// fetch reads both values once.
func (r *record) fetch(p *program) (entries []string, deciders map[string]int, err error) {
	call := r.now()
	list, value, err := p.list.Fetch(p.ctx)
	if err != nil {
		return nil, nil, err
	}
	entries = slices.Collect(list.All())
	read(r, &r.lists, listReading{r.until(call), entries, string(value.Version)})
	call = r.now()
	all, value, err := p.all.Fetch(p.ctx)
	if err != nil {
		return nil, nil, err
	}
	deciders = map[string]int{}
	for _, name := range all.Names() {
		deciders[name], _ = all.Value(name)
	}
	read(r, &r.tables, tableReading{span: r.until(call), values: deciders, version: string(value.Version)})
	return entries, deciders, nil
}

func (r *record) mustReadByProgram(t testing.TB, p *program) ([]string, map[string]int) {
	t.Helper()
	entries, deciders, err := r.fetch(p)
	if err != nil {
		t.Fatal(err)
	}
	return entries, deciders
}

// readByCommand is readByProgram with `kingpin config get`.
func (r *record) readByCommand(t testing.TB, f *fleet, way route, over <-chan struct{}) {
	t.Helper()
	get := func(name string, into any) (span, bool) {
		call := r.now()
		got, err := f.attempt(way.env(), "", "config", "get", name)
		switch {
		case err != nil:
			t.Error(err)
		case got.code == 4: // cut
		case got.code != 0:
			t.Errorf("config get %s: exit code %d\n%s", name, got.code, got.stderr)
		default:
			if err := json.Unmarshal([]byte(got.stdout), into); err != nil {
				t.Errorf("config get %s: %v", name, err)
			}
			return r.until(call), true
		}
		return span{}, false
	}
	for r.awaitProgress(3*betweenReadings, over) {
		var entries []string
		if s, ok := get("config.manageddata."+sharedList, &entries); ok {
			read(r, &r.lists, listReading{span: s, entries: entries})
		}
		var deciders map[string]int
		if s, ok := get(managed.DeciderFile, &deciders); ok {
			read(r, &r.tables, tableReading{span: s, values: deciders})
		}
	}
}

// readFiles reads this machine's files again and again: the list's, and those of
// the rivals. They may be of the past, but each must have been true, and no one
// may be older than one before.
func (r *record) readFiles(t testing.TB, m *monitor, over <-chan struct{}) {
	t.Helper()
	longest := 0
	for r.awaitProgress(betweenReadings, over) {
		entries, err := listFile(m.config("config.manageddata." + sharedList))
		if err != nil {
			t.Error(err)
			return
		}
		if len(entries) < longest {
			t.Errorf("this machine's file goes back: it has %d entries, after %d", len(entries), longest)
		}
		longest = len(entries)
		read(r, &r.lists, listReading{span: r.until(0), entries: entries})
		name := fmt.Sprintf("%s%d", rival, longest%rivals)
		text, err := readFile(m.config("decider/" + name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		value, err := strconv.Atoi(strings.TrimSuffix(text, "\n"))
		if err != nil {
			t.Errorf("decider/%s holds %q: %v", name, text, err)
			continue
		}
		read(r, &r.tables, tableReading{span: r.until(0), values: map[string]int{name: value}, only: name})
	}
}

// listFile reads a file that holds a list.
func listFile(path string) ([]string, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var entries []string
	return entries, json.Unmarshal([]byte(text), &entries)
}
