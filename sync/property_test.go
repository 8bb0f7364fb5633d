package sync

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/store"
)

var (
	seeds = flag.Int("seeds", 8, "how many random histories TestRandomHistories goes through")
	seed  = flag.Uint64("seed", 0, "the one history to go through; 0 means as many others as -seeds says")
)

// Whatever happens to the fleet and its backends, when all is well again the
// box serves exactly what the fleet says, and on the way there it never broke
// the promises that the sink checks.
func TestRandomHistories(t *testing.T) {
	first, last := rand.Uint64(), uint64(*seeds)
	if *seed != 0 {
		first, last = *seed, 1
	}
	for i := range last {
		t.Run(fmt.Sprint("seed=", first+i), func(t *testing.T) {
			inBubble(t, func(b *box) {
				h := &history{box: b, random: rand.New(rand.NewPCG(first+i, 0)), version: 1000}
				h.run()
			})
		})
	}
}

const (
	historyNames  = 4
	historyEvents = 300
)

// history makes things happen to a box.
type history struct {
	*box

	random  *rand.Rand
	version int
	writing sync.WaitGroup
}

func (h *history) run() {
	h.remembers = true
	h.cfg.Workers = 1 + h.random.IntN(6)
	h.jitter()
	for range 60 {
		h.fleetEvent()
	}
	h.start()
	for range historyEvents {
		switch h.random.IntN(8) {
		case 0, 1:
			h.backendEvent()
		case 2:
			h.writeHere()
		default:
			h.fleetEvent()
		}
		if h.random.IntN(3) > 0 {
			h.pass(time.Duration(h.random.ExpFloat64() * float64(time.Second)))
		}
	}
	h.heal()
	h.writing.Wait()
	h.pass(20 * time.Minute) // less than the resync, more than the hold
	h.compare()
}

// jitter makes the backends slow, now more, now less, so that what happens at
// the same time happens in many orders.
func (h *history) jitter() {
	h.zk.mu.Lock()
	h.zk.latency = time.Duration(h.random.IntN(30)) * time.Millisecond
	h.zk.mu.Unlock()
	slow := time.Duration(h.random.IntN(100)) * time.Millisecond
	h.s3.setDelay(func(key string) time.Duration { return slow * time.Duration(1+len(key)%5) })
}

func (h *history) name() string       { return fmt.Sprintf("n%d", h.random.IntN(historyNames)) }
func (h *history) config() store.Ref  { return configRef("h." + h.name()) }
func (h *history) serverset() string  { return serversetPath("h." + h.name()) }
func (h *history) dependency() string { return fmt.Sprintf("d%d.dep", h.random.IntN(historyNames)) }

func (h *history) nextVersion() store.Version {
	h.version++
	return version(h.version)
}

// fleetEvent changes something that the fleet wants.
func (h *history) fleetEvent() {
	switch h.random.IntN(12) {
	case 0, 1, 2:
		h.writeConfig(h.config())
	case 3:
		if ref := h.config(); h.exists(ref.Path) {
			h.zk.remove(ref.Path)
		}
	case 4:
		h.zk.set(h.config().Path, []string{"", "bad", "1234567.0"}[h.random.IntN(3)])
	case 5, 6:
		h.writeMetaconfig(h.name())
	case 7:
		name := h.name()
		if h.random.IntN(2) == 0 {
			h.metaconfig(name, h.nextVersion(), "not JSON")
		} else if h.exists(metaconfig.Path(name)) {
			h.zk.remove(metaconfig.Path(name))
		}
	case 8, 9:
		h.member()
	default:
		h.changeServerset(h.serverset())
	}
}

func (h *history) writeConfig(ref store.Ref) {
	v := h.nextVersion()
	content := ref.Path + "@" + string(v)
	if h.random.IntN(4) == 0 {
		content = "the same as others"
	}
	h.write(ref, v, content)
}

// writeHere publishes a version as this box does, which learns of it by itself
// sooner or later.
func (h *history) writeHere() {
	name := "config." + h.name()
	source, ok := h.engine.Source(name)
	if !ok {
		return
	}
	v := h.nextVersion()
	if h.random.IntN(2) == 0 {
		h.engine.OfferVersion(name, v, []byte(source.Path+"@"+string(v)))
	}
	value := h.published(source.Ref, v, source.Path+"@"+string(v))
	engine, serve := h.engine, h.random.IntN(2) == 0
	delay := time.Duration(h.random.IntN(3)*h.random.IntN(100)) * time.Millisecond
	h.writing.Go(func() {
		<-time.After(delay)
		engine.NoteWritten(name, source.Ref, value)
		if serve {
			// The sink may refuse.
			_ = engine.ServeWritten(name)
		}
	})
}

// writeMetaconfig makes a metaconfig ask for some files, under their own names
// or under another's.
func (h *history) writeMetaconfig(name string) {
	entries := map[string]string{}
	for range h.random.IntN(3) {
		file := h.name()
		if h.random.IntN(2) == 0 {
			entries["c"+file] = configEntry("config."+file, h.config().Path, "")
		} else {
			entries["s"+file] = serversetEntry("serverset."+file, h.serverset(), "")
		}
	}
	var list []string
	for _, entry := range entries {
		list = append(list, entry)
	}
	h.metaconfig(name, h.nextVersion(), "["+strings.Join(list, ", ")+"]")
}

// member adds a member to a dependency or removes one.
func (h *history) member() {
	dependency := h.dependency()
	if h.random.IntN(4) == 0 {
		dependency = boxDependency
	}
	member := h.name()
	if h.random.IntN(2) == 0 {
		member = h.dependency()
	}
	if path := metaconfig.DependencyPath(dependency) + "/" + member; h.exists(path) {
		h.zk.remove(path)
	} else {
		h.depend(dependency, member)
	}
}

func (h *history) changeServerset(path string) {
	if h.random.IntN(20) == 0 && h.exists(path) {
		h.zk.remove(path)
		return
	}
	h.ensure(path)
	for range 1 + h.random.IntN(4) {
		member := path + "/" + memberOf(fmt.Sprintf("10.0.0.%d:80", h.random.IntN(12)))
		if h.exists(member) {
			h.zk.remove(member)
		} else {
			h.zk.set(member, "")
		}
	}
}

// backendEvent makes something go wrong, or right again.
func (h *history) backendEvent() {
	switch h.random.IntN(12) {
	case 0:
		h.zk.disconnect()
	case 1:
		h.zk.expire()
	case 2, 3:
		h.reconnect(h.random.IntN(2) == 0)
	case 4:
		h.zk.lag(h.random.IntN(2) == 0)
	case 5:
		h.s3.setFault([]func(string) error{nil, unavailable, h.flaky(), h.flaky()}[h.random.IntN(4)])
	case 6:
		part := h.name()
		h.s3.setHang([]func(string) bool{nil, func(key string) bool { return strings.Contains(key, part) }}[h.random.IntN(2)])
	case 7:
		part := h.name()
		h.sink.setRefuse([]func(key) error{nil, func(k key) error {
			if strings.Contains(k.name, part) {
				return errors.New("refused")
			}
			return nil
		}}[h.random.IntN(2)])
	case 8:
		h.engine.Resync(0)
	case 9:
		h.engine.Reread(h.config().Path)
		// It may or may not be one that is held.
		_ = h.engine.AcceptServerset("serverset." + h.name())
	case 10:
		h.writing.Wait()
		h.restart()
	default:
		h.jitter()
	}
}

// flaky is a fault that hits every other key.
func (h *history) flaky() func(string) error {
	odd := h.random.IntN(2)
	kind := []store.Kind{store.NotFound, store.Unavailable, store.Denied}[h.random.IntN(3)]
	return func(key string) error {
		if len(key)%2 == odd {
			return &store.Error{Op: "reading object", Subject: key, Kind: kind}
		}
		return nil
	}
}

func (h *history) reconnect(newSession bool) {
	h.zk.mu.Lock()
	connected, lost := h.zk.connected, len(h.zk.watches) == 0
	h.zk.mu.Unlock()
	if !connected {
		h.zk.connect(newSession || lost)
	}
}

// heal ends all faults, and makes the fleet one whose wishes can be fulfilled.
func (h *history) heal() {
	h.zk.lag(false)
	h.reconnect(false)
	h.s3.setFault(nil)
	h.s3.setHang(nil)
	h.sink.setRefuse(nil)
	for i := range historyNames {
		name := fmt.Sprintf("n%d", i)
		h.writeConfig(configRef("h." + name))
		path := serversetPath("h." + name)
		h.ensure(path)
		h.zk.set(path+"/"+memberOf("10.0.0.99:80"), "")
		h.writeMetaconfig(name)
		h.depend(fmt.Sprintf("d%d.dep", i))
	}
	h.depend(boxDependency)
}

// compare holds what is served against what the fleet says.
func (h *history) compare() {
	h.t.Helper()
	want := h.wanted()
	for k, content := range want {
		h.wantContent(k, content)
		h.wantState(k, Fresh, "")
	}
	h.sink.mu.Lock()
	for k, f := range h.sink.files {
		if _, ok := want[k]; !ok && f.entry != nil {
			h.t.Errorf("%q is still served, as %q", k.name, f.entry.Content)
		}
	}
	h.sink.mu.Unlock()
	for _, f := range append(h.engine.Snapshot().Configs, h.engine.Snapshot().Serversets...) {
		if _, ok := want[fileKey(f.Type, f.Name)]; !ok {
			h.t.Errorf("the snapshot has %+v, which nothing asks for", f)
		}
	}
	h.wantReady(true)
	h.engine.mu.Lock()
	defer h.engine.mu.Unlock()
	for k, it := range h.engine.items {
		if it.hasWritten() {
			h.t.Errorf("%q still waits to be served at version %s", k.name, it.written.Version)
		}
	}
	if len(h.engine.lingering)+len(h.engine.doubts)+len(h.engine.blind) > 0 {
		h.t.Errorf("left in doubt: %v, %v, %v", h.engine.lingering, h.engine.doubts, h.engine.blind)
	}
}

// wanted works out, in another way than the engine, what the box should serve.
func (h *history) wanted() map[key]string {
	z := h.zk
	z.mu.Lock()
	defer z.mu.Unlock()
	reached := []string{boxDependency, metaconfig.BaseDependency}
	for i := 0; i < len(reached); i++ {
		for _, member := range z.at(metaconfig.DependencyPath(reached[i]), z.zxid).children {
			if !slices.Contains(reached, member) {
				reached = append(reached, member)
			}
		}
	}
	var subs []metaconfig.Subscription
	for _, name := range reached {
		if metaconfig.IsDependency(name) {
			continue
		}
		pointer := store.Version(z.at(metaconfig.Path(name), z.zxid).data)
		found, _, err := metaconfig.Parse(name, h.s3.objects[metaconfigRef(name).Key(pointer)])
		if err != nil {
			h.t.Error(err)
		}
		subs = append(subs, found...)
	}
	slices.SortStableFunc(subs, func(a, b metaconfig.Subscription) int { return cmp.Compare(b.Metaconfig, a.Metaconfig) })
	want := map[key]string{}
	for _, sub := range subs { // the first by name comes last, and wins
		r := z.at(sub.ZKPath, z.zxid)
		if sub.Type == metaconfig.Serverset {
			endpoints, _ := serverset.Parse(r.children)
			want[fileKey(sub.Type, sub.File)] = string(serverset.Render(endpoints))
		} else {
			ref := store.Ref{Path: sub.ZKPath, Prefix: sub.KeyPrefix}
			want[fileKey(sub.Type, sub.File)] = string(h.s3.objects[ref.Key(store.Version(r.data))])
		}
	}
	return want
}
