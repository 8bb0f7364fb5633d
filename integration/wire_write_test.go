package integration

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster"
)

// What our commands write is, byte for byte, what Python's programs read.
func TestWhatIsWrittenIsWhatPythonReads(t *testing.T) {
	t.Parallel()
	eachS3(t, func(t *testing.T, kind s3Kind) {
		f := newFleet(t, kind)
		f.run("dependency", "create", "web.dep")
		f.run("dependency", "create", "common.dep")
		f.run("dependency", "add", "web.dep", "common.dep")
		config := f.newConfig("Spam", "test_grey-List", "web.dep")
		if config != "config.manageddata.spam.test_grey-list" {
			t.Fatalf("the config's name is %q: domain and key are in lower case", config)
		}
		set := f.newServerset("test_service", "prod", "web.dep")
		const configPath, setPath = "/config/manageddata/spam/test_grey-list", "/discovery/test_service/prod"

		// Created, but not written yet.
		for _, znode := range []string{
			configPath, setPath, dependencyRoot + "/web.dep", dependencyRoot + "/web.dep/common.dep",
			dependencyRoot + "/web.dep/" + config, dependencyRoot + "/web.dep/" + set,
		} {
			f.wantEmptyZnode(znode)
		}
		if got, want := f.zk.children(dependencyRoot+"/web.dep"), []string{"common.dep", config, set}; !slices.Equal(got, want) {
			t.Errorf("the dependency's members are %q, not %q", got, want)
		}

		version := f.put(config, octets)
		f.wantValue(configPath, version, octets)
		if second := f.put(config, "2"); second != version {
			f.wantValue(configPath, second, "2")
			f.wantObject(contentKey(configPath, version), octets) // versions stay
		}
		f.wantMetaconfig(config, `[{"config_section_name": "`+config+`", "zk_path": "`+configPath+`", `+
			`"command": "zk_download_data.py -f /var/config/`+config+` --from-s3 /data`+configPath+` -m config -p `+configPath+`", `+
			`"type": "config", "max_wait_in_secs": 0}]`)
		f.wantMetaconfig(set, `[{"config_section_name": "`+set+`", "zk_path": "`+setPath+`", `+
			`"command": "zk_download_data.py -f /var/serverset/`+set+` -p `+setPath+` -m serverset", `+
			`"type": "serverset", "max_wait_in_secs": 0}]`)

		// Nothing else is in the bucket but contents and indices.
		for _, key := range f.s3.keys("") {
			if !regexp.MustCompile(`^data/(config/manageddata|metaconfig/metaconfig)/[^.]+$`).MatchString(key) {
				t.Errorf("there is an object %q", key)
			}
		}
		f.run("dependency", "remove", "web.dep", set)
		if f.zk.exists(dependencyRoot + "/web.dep/" + set) {
			t.Error("the removed member's znode is still there")
		}
	})
}

// wantEmptyZnode checks that a znode is persistent, and holds nothing.
func (f *fleet) wantEmptyZnode(znode string) {
	f.t.Helper()
	if data, stat := f.zk.get(znode); len(data) != 0 || stat.EphemeralOwner != 0 {
		f.t.Errorf("%s holds %q, and its owner is %x", znode, data, stat.EphemeralOwner)
	}
}

// wantMetaconfig checks the current text of a metaconfig.
func (f *fleet) wantMetaconfig(name, want string) {
	f.t.Helper()
	zkPath := metaconfigRoot + "/" + name
	data, _ := f.zk.get(zkPath)
	f.wantValue(zkPath, string(data), want)
}

// wantValue checks everything that makes a value: pointer, content, index, lock.
func (f *fleet) wantValue(zkPath, version, content string) {
	f.t.Helper()
	if !regexp.MustCompile(`^[0-9]{10}\.[0-9]{6}$`).MatchString(version) {
		f.t.Errorf("%q is no version of ours", version)
	}
	if data, stat := f.zk.get(zkPath); string(data) != version || stat.EphemeralOwner != 0 {
		f.t.Errorf("%s holds %q, and its owner is %x", zkPath, data, stat.EphemeralOwner)
	}
	f.wantObject(contentKey(zkPath, version), content)
	f.wantObject(indexKey(zkPath), version)
	f.wantEmptyZnode(zkPath + ".lock")
	if left := f.zk.children(zkPath + ".lock"); len(left) != 0 {
		f.t.Errorf("the lock of %s still has contenders: %q", zkPath, left)
	}
}

// wantObject checks an object.
func (f *fleet) wantObject(key, body string) {
	f.t.Helper()
	object := f.s3.get(key)
	if object.body != body || object.contentType != "application/octet-stream" {
		f.t.Errorf("object %q holds %q, of type %q, not %q", key, object.body, object.contentType, body)
	}
	for name := range maps.Keys(object.metadata) {
		if !strings.HasPrefix(name, "kingpin-") {
			f.t.Errorf("object %q has the metadata %q", key, name)
		}
	}
}

// A schema is where no program of Python's looks: neither among the metaconfigs, nor
// in the metaconfig.
func TestSchemasAreOutOfPythonsWay(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	name := f.newConfig("spam", "grey_list")
	before, metaconfigs := f.run("metaconfig", "show", name, "--output", "json"), f.zk.children(metaconfigRoot)
	const schema = `{"type": "array"}`
	version := f.runInput(schema, "config", "schema", name, "-")
	const znode = "/metaconfig/schema/config.manageddata.spam.grey_list"
	if data, _ := f.zk.get(znode); string(data) != version {
		t.Errorf("%s holds %q, not %q", znode, data, version)
	}
	if got := f.s3.get(contentKey(znode, version)).body; got != schema {
		t.Errorf("the schema is stored as %q", got)
	}
	if after := f.run("metaconfig", "show", name, "--output", "json"); after != before {
		t.Errorf("the metaconfig was\n%s\nand is\n%s", before, after)
	}
	if now := f.zk.children(metaconfigRoot); !slices.Equal(now, metaconfigs) {
		t.Errorf("the metaconfigs were %q, and are %q", metaconfigs, now)
	}
}

// holdWrites makes an S3 server hold every write of an object until release is
// called, which may be done more than once.
func holdWrites(server *devcluster.S3) (release func()) {
	return holdWritesOf(server, func(*http.Request) bool { return true })
}

// holdWritesOf is holdWrites for some of them.
func holdWritesOf(server *devcluster.S3, which func(*http.Request) bool) (release func()) {
	held := make(chan struct{})
	server.SetFault(func(r *http.Request) *devcluster.Fault {
		if r.Method != http.MethodPut || !which(r) {
			return nil
		}
		return &devcluster.Fault{Handle: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			<-held
			next.ServeHTTP(w, r)
		}}
	})
	var once sync.Once
	return func() {
		once.Do(func() {
			server.SetFault(nil)
			close(held)
		})
	}
}
