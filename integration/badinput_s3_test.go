package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// TestBucketThatIsNotThereYet starts monitors on a bucket that doesn't exist:
// they say so, wait, and serve once somebody has created it.
func TestBucketThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	server, described := ownS3(t)
	described.bucket = "created-later"
	f := newFleetOn(t, devtest.SharedZooKeeper(t), described)
	name := fileName(pointers + "x")
	f.zk.create(pointers+"x", []byte(version(1)))
	f.zk.create(metaconfigRoot+"/"+name, []byte(version(1)))
	f.zk.addMember(boxDep, name)
	c := &company{f: f, faces: f.launchFaces(monitorConfig{})}
	for _, m := range c.faces {
		m.awaitListening()
	}
	c.awaitNow(name+": ", `"created-later"`, "no bucket", server.Endpoint(), "--s3-bucket", "create it")
	wantExit(t, f.try("x", "config", "put", name, "-"), 1, `"created-later"`, "no bucket", "--s3-bucket")
	if err := server.CreateBucket("created-later"); err != nil {
		t.Fatal(err)
	}
	f.publish("x", 1)
	f.publishMetaconfigRaw(name, version(1), configObject(pointers+"x"))
	for _, m := range c.faces {
		m.awaitNumbered(name, 1)
		m.awaitReady()
	}
	c.awaitNoComplaint()
}

// TestWrongCredentials starts monitors with credentials that the server refuses,
// and changes the key file under them: what was served stays, the status says
// whose credentials they are and what is wrong with them, and once the file is
// right everything is. The server is one that checks them.
func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	f := newFleet(t, versitygw)
	right := mustRead(t, f.keyFile)
	const wrongSecret = "correct-horse-battery-staple"
	wrongKey := strings.ReplaceAll(right, f.server.secretKey, wrongSecret)

	c := newCompany(f, monitorConfig{})
	names := f.subscribe("x")
	znode := pointers + "x"
	f.publish("x", 1)
	for _, m := range c.faces {
		m.awaitNumbered(names[0], 1)
		watchReads(m, names...)
	}
	mustWrite(t, f.keyFile, wrongKey)
	c.restart("--log-level", "debug")
	f.publish("x", 2)
	c.awaitNow(names[0]+": ", "secret key is not the one", f.server.accessKey, f.keyFile)
	for _, wrong := range []struct {
		content string
		told    []string
	}{
		{strings.ReplaceAll(right, f.server.accessKey, "nobody-knows-me"), []string{"nobody-knows-me", f.keyFile, "key id"}},
		{"[Credentials]\naws_access_key_id = x\n", []string{f.keyFile, "[Credentials]", "aws_secret_access_key"}},
		{"[Boto]\n" + f.server.secretKey + "\n", []string{f.keyFile, "[Credentials]", `"Boto"`}},
		{"", []string{f.keyFile, "[Credentials]"}},
	} {
		mustWrite(t, f.keyFile, wrong.content)
		for _, m := range c.faces {
			m.post("/admin/watch" + znode)
		}
		c.awaitNow(append(wrong.told, names[0]+": ")...)
		for _, m := range c.faces {
			m.mustServe(names[0], 1)
			m.mustBeWell()
		}
	}
	mustWrite(t, f.keyFile, right)
	for _, m := range c.faces {
		m.awaitNumbered(names[0], 2)
		m.awaitReady()
	}
	c.awaitNoComplaint()
	c.mustGoOn()
	for _, m := range c.faces {
		for _, secret := range []string{wrongSecret, f.server.secretKey} {
			if strings.Contains(m.stderr.String(), secret) {
				t.Errorf("the log of the %s face holds the secret key %q", m.mode, secret)
			}
		}
	}

	// A file that is wrong from the start is one of the command line's faults.
	missing := filepath.Join(f.dir, "missing")
	wantExit(t, f.try("", "config", "get", names[0], "-a", missing), 3, missing, "--aws-key-file")
	mustWrite(t, missing, "rubbish")
	wantExit(t, f.try("", "config", "get", names[0], "-a", missing), 3, missing, "[Credentials]")
}
