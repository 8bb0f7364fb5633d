package integration

import (
	"encoding/json"
	"strings"
	"testing"
)

// What other programs of a fleet write and read: names as in
// docs/wire-format.md, spelled out here a second time so that a change of ours
// is noticed.
const (
	metaconfigRoot = "/metaconfig/metaconfig"
	dependencyRoot = "/metaconfig/dependency"
)

// contentKey returns the key of a content in S3.
func contentKey(zkPath, version string) string {
	return strings.ReplaceAll("data"+zkPath+"_"+version, ".", "/")
}

// indexKey returns the key of the object that names the newest version.
func indexKey(zkPath string) string {
	return strings.ReplaceAll("data"+zkPath, ".", "/")
}

// publishRaw writes a version as Python's writers do, without the lock: content,
// index, pointer. The pointer is created if it isn't there.
func (f *fleet) publishRaw(zkPath, version, content string) {
	f.t.Helper()
	f.storeRaw(zkPath, version, content)
	if f.zk.exists(zkPath) {
		f.zk.set(zkPath, []byte(version))
	} else {
		f.zk.create(zkPath, []byte(version))
	}
}

// storeRaw writes content and index alone.
func (f *fleet) storeRaw(zkPath, version, content string) {
	f.t.Helper()
	f.s3.put(contentKey(zkPath, version), content, "application/octet-stream")
	f.s3.put(indexKey(zkPath), version, "application/octet-stream")
}

// metaconfigObject is an object of a metaconfig's array. The types of the fields
// that Python's tools write differently at times are open.
type metaconfigObject struct {
	Section       string `json:"config_section_name"`
	ZKPath        string `json:"zk_path"`
	Command       string `json:"command"`
	Type          string `json:"type,omitempty"`
	MaxWait       any    `json:"max_wait_in_secs,omitempty"`
	AlertDisabled string `json:"alert_disabled,omitempty"`
}

// configObject returns the object of a config, as create-config of Python's
// tools makes it.
func configObject(zkPath string) metaconfigObject {
	name := fileName(zkPath)
	return metaconfigObject{
		Section: name, ZKPath: zkPath, Type: "config", MaxWait: 0,
		Command: "zk_download_data.py -f /var/config/" + name + " --from-s3 /data" + zkPath + " -m config -p " + zkPath,
	}
}

// serversetObject is configObject for a serverset.
func serversetObject(zkPath string) metaconfigObject {
	name := fileName(zkPath)
	return metaconfigObject{
		Section: name, ZKPath: zkPath, Type: "serverset", MaxWait: 0,
		Command: "zk_download_data.py -f /var/serverset/" + name + " -p " + zkPath + " -m serverset",
	}
}

// fileName returns the name of the file that a znode is served as.
func fileName(zkPath string) string {
	return strings.ReplaceAll(strings.TrimPrefix(zkPath, "/"), "/", ".")
}

// publishMetaconfigRaw writes a metaconfig as Python's tools do.
func (f *fleet) publishMetaconfigRaw(name, version string, objects ...metaconfigObject) {
	f.t.Helper()
	f.publishRaw(metaconfigRoot+"/"+name, version, metaconfigText(f.t, objects...))
}

// metaconfigText returns the content of a metaconfig.
func metaconfigText(t testing.TB, objects ...metaconfigObject) string {
	t.Helper()
	text, err := json.Marshal(objects)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
