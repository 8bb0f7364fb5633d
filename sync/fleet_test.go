package sync

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// boxDependency is what the box depends on.
const boxDependency = "box.dep"

// configKey is the key of the file that config makes.
func configKey(name string) key { return key{configItem, "config.manageddata." + name} }

func serversetKey(name string) key { return key{serversetItem, "discovery." + name} }

func configRef(name string) store.Ref {
	path := "/config/manageddata/" + strings.ReplaceAll(name, ".", "/")
	return store.Ref{Path: path, Prefix: "data" + path}
}

func metaconfigRef(name string) store.Ref { return store.Ref{Path: metaconfig.Path(name)} }

// depend makes members members of a dependency.
func (b *box) depend(dependency string, members ...string) {
	b.ensure(metaconfig.DependencyPath(dependency))
	for _, member := range members {
		b.zk.set(metaconfig.DependencyPath(dependency)+"/"+member, "")
	}
}

func (b *box) ensure(path string) {
	b.zk.mu.Lock()
	defer b.zk.mu.Unlock()
	if !b.zk.at(path, b.zk.zxid).exists {
		b.zk.setLocked(path, "")
	}
}

func (b *box) independ(dependency, member string) {
	b.zk.remove(metaconfig.DependencyPath(dependency) + "/" + member)
}

// write publishes a version as a writer does: the object, then the pointer.
func (b *box) write(ref store.Ref, v store.Version, content string) {
	b.s3.put(ref, v, content)
	b.zk.set(ref.Path, string(v))
}

// metaconfig publishes a metaconfig.
func (b *box) metaconfig(name string, v store.Version, content string) {
	b.write(metaconfigRef(name), v, content)
}

func configEntry(file, zkPath, options string) string {
	return fmt.Sprintf(`{"zk_path": %q, "command": "zk_download_data.py -f /var/config/%s --from-s3 /data%s -m config -p %s", "type": "config"%s}`,
		zkPath, file, zkPath, zkPath, options)
}

func serversetEntry(file, zkPath, options string) string {
	return fmt.Sprintf(`{"zk_path": %q, "command": "zk_download_data.py -f /var/serverset/%s -p %s -m serverset%s", "type": "serverset"}`,
		zkPath, file, zkPath, options)
}

// config publishes a version of a config, and the metaconfig for it if there
// is none.
func (b *box) config(name string, v store.Version, content string) {
	k := configKey(name)
	if !b.exists(metaconfig.Path(k.name)) {
		b.metaconfig(k.name, "1.0", "["+configEntry(k.name, configRef(name).Path, "")+"]")
	}
	b.write(configRef(name), v, content)
}

func (b *box) exists(path string) bool {
	b.zk.mu.Lock()
	defer b.zk.mu.Unlock()
	return b.zk.at(path, b.zk.zxid).exists
}

func serversetPath(name string) string { return "/discovery/" + strings.ReplaceAll(name, ".", "/") }

// serverset makes exactly the given endpoints the members of a serverset, and
// makes the metaconfig for it if there is none.
func (b *box) serverset(name string, endpoints ...string) {
	k, path := serversetKey(name), serversetPath(name)
	if !b.exists(metaconfig.Path(k.name)) {
		b.metaconfig(k.name, "1.0", "["+serversetEntry(k.name, path, "")+"]")
	}
	b.ensure(path)
	b.zk.mu.Lock()
	defer b.zk.mu.Unlock()
	have := b.zk.at(path, b.zk.zxid).children
	for _, endpoint := range endpoints {
		if member := memberOf(endpoint); !slices.Contains(have, member) {
			b.zk.setLocked(path+"/"+member, endpoint)
		}
	}
	for _, member := range have {
		if _, endpoint, _ := strings.Cut(member, "-"); !slices.Contains(endpoints, endpoint) {
			b.zk.removeLocked(path + "/" + member)
		}
	}
}

func memberOf(endpoint string) string { return "0123456789abcdef0123456789abcdef-" + endpoint }

// hosts returns the endpoints from..to.
func hosts(from, to int) []string {
	var list []string
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf("10.0.0.%d:80", i))
	}
	return list
}

func lines(endpoints []string) string {
	endpoints = slices.Sorted(slices.Values(endpoints))
	text := ""
	for _, endpoint := range endpoints {
		text += endpoint + "\n"
	}
	return text
}
