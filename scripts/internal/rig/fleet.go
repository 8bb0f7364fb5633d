package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/go-zookeeper/zk"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/store"
)

const (
	metaconfigRoot = "/metaconfig/metaconfig"
	dependencyRoot = "/metaconfig/dependency"
)

// Config is a config of the fleet.
type Config struct {
	Domain, Key string
	Size        int // of each of its contents, in bytes; a multiple of 8
}

// Path returns the config's znode.
func (c Config) Path() string { return "/config/manageddata/" + c.Domain + "/" + c.Key }

// File returns the name of the file that it is served as.
func (c Config) File() string { return fileOf(c.Path()) }

func (c Config) ref() store.Ref { return store.Ref{Path: c.Path()} }

// Serverset is a serverset of the fleet.
type Serverset struct {
	Service string
	Members int // at first
}

// Path returns the serverset's znode.
func (s Serverset) Path() string { return "/discovery/" + s.Service + "/prod" }

// File returns the name of the file that it is served as.
func (s Serverset) File() string { return fileOf(s.Path()) }

// endpoint returns a member's host and port; all differ.
func (s Serverset) endpoint(i int) string {
	return fmt.Sprintf("10.%d.%d.%d:%d", len(s.Service), i/250, i%250, 9000+i%100)
}

func fileOf(znode string) string { return strings.ReplaceAll(strings.TrimPrefix(znode, "/"), "/", ".") }

// Fleet is what a dependency lists.
type Fleet struct {
	Dependency string // such as "bench.dep"
	Configs    []Config
	Serversets []Serverset
}

// metaconfigObject is a metaconfig's content, as Python's tools write it.
type metaconfigObject struct {
	Section string `json:"config_section_name"`
	ZKPath  string `json:"zk_path"`
	Command string `json:"command"`
	Type    string `json:"type"`
	MaxWait int    `json:"max_wait_in_secs"`
}

// metaconfigOf returns a metaconfig's name and content.
func metaconfigOf(znode, kind string) (name, content string, err error) {
	name = fileOf(znode)
	object := metaconfigObject{Section: name, ZKPath: znode, Type: kind}
	if kind == "config" {
		object.Command = "zk_download_data.py -f /var/config/" + name + " --from-s3 /data" + znode + " -m config -p " + znode
	} else {
		object.Command = "zk_download_data.py -f /var/serverset/" + name + " -p " + znode + " -m serverset"
	}
	text, err := json.Marshal([]metaconfigObject{object})
	return name, string(text), err
}

// metaconfigKey returns the key of a metaconfig's only version.
func metaconfigKey(name string) string {
	return store.Ref{Path: metaconfigRoot + "/" + name}.Key(versionOf(0))
}

// Fill writes a fleet, each config at content 0, by the names and in the formats
// of docs/wire-format.md. Members of serversets live as long as the rig.
func (r *Rig) Fill(ctx context.Context, f *Fleet) error {
	b := &filling{rig: r, fleet: f, parents: map[string]bool{}}
	b.parent(metaconfigRoot)
	b.parent(dependencyRoot + "/" + f.Dependency)
	for _, c := range f.Configs {
		b.parent(path.Dir(c.Path()))
		b.add(c.Path(), string(versionOf(0)), 0)
		b.subscribe(c.Path(), "config")
		b.put(c.ref().Key(versionOf(0)), func() string { return Content(0, c.Size) })
	}
	for _, s := range f.Serversets {
		b.parent(s.Path())
		b.subscribe(s.Path(), "serverset")
		for i := range s.Members {
			endpoint := s.endpoint(i)
			b.add(s.Path()+"/"+memberName(endpoint), endpoint, zk.FlagEphemeral)
		}
	}
	return b.write(ctx)
}

// memberName returns the name of a member's znode.
func memberName(endpoint string) string {
	return strings.ReplaceAll(uuid.NewString(), "-", "") + "-" + endpoint
}

// filling is what is to be written for a fleet.
type filling struct {
	rig     *Rig
	fleet   *Fleet
	parents map[string]bool
	order   []string // of the parents
	znodes  []*zk.CreateRequest
	objects []object
	err     error // the first that came up
}

type object struct {
	key  string
	body func() string
}

func (b *filling) parent(znode string) {
	if !b.parents[znode] {
		b.parents[znode] = true
		b.order = append(b.order, znode)
	}
}

func (b *filling) add(znode, data string, flags int32) {
	b.znodes = append(b.znodes, &zk.CreateRequest{Path: znode, Data: []byte(data), Acl: everybody, Flags: flags})
}

func (b *filling) put(key string, body func() string) {
	b.objects = append(b.objects, object{key, body})
}

// subscribe makes a metaconfig of a znode, and lists it in the dependency.
func (b *filling) subscribe(znode, kind string) {
	name, content, err := metaconfigOf(znode, kind)
	if err != nil && b.err == nil {
		b.err = err
	}
	b.add(metaconfigRoot+"/"+name, string(versionOf(0)), 0)
	b.add(dependencyRoot+"/"+b.fleet.Dependency+"/"+name, "", 0)
	b.put(metaconfigKey(name), func() string { return content })
}

// write writes the objects first, so that no pointer names one that is missing.
func (b *filling) write(ctx context.Context) error {
	if b.err != nil {
		return b.err
	}
	group, putCtx := errgroup.WithContext(ctx)
	group.SetLimit(putsAtATime)
	for _, o := range b.objects {
		group.Go(func() error { return b.rig.objects.put(putCtx, o.key, o.body()) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, znode := range b.order {
		if there, _, err := b.rig.ZK.conn.Exists(znode); err != nil {
			return fmt.Errorf("looking for znode %q: %w", znode, err)
		} else if there {
			continue
		}
		if err := b.rig.ZK.create(znode, ""); err != nil {
			return err
		}
	}
	return b.rig.ZK.createAll(ctx, b.znodes)
}
