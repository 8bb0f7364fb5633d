package integration

import (
	"strings"
	"testing"
)

// TestDependencyThatIsNotThereYet starts monitors of a dependency that doesn't
// exist, and that names another one that doesn't: each is named with the command
// that creates it, and followed once it is there.
func TestDependencyThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	good := f.subscribe(goodKey)[0]
	f.publish(goodKey, 1)
	faces := f.startFaces(monitorConfig{Dependencies: []string{"later.dep", boxDep}})
	c := &company{f, faces, good, 1}
	c.awaitNow("later.dep: ", "not found", "kingpin dependency create later.dep")
	for _, m := range faces {
		if !strings.HasPrefix(m.ready, "ready ") || !strings.Contains(m.ready, "configs=1") {
			t.Errorf("the ready line is %q", m.ready)
		}
	}
	c.mustGoOn()
	f.run("dependency", "create", "later.dep")
	c.awaitNoComplaint()
	f.run("dependency", "create", "nested.dep")
	f.run("dependency", "add", "later.dep", "nested.dep")
	f.zk.create(dependencyRoot+"/nested.dep/missing.dep", nil)
	c.awaitNow("missing.dep: ", "kingpin dependency create missing.dep")
	f.run("dependency", "create", "missing.dep")
	f.publish("late", 1)
	f.publishMetaconfigRaw(fileName(pointers+"late"), version(1), configObject(pointers+"late"))
	f.run("dependency", "add", "missing.dep", fileName(pointers+"late"))
	for _, m := range faces {
		m.awaitSoon(fileName(pointers+"late"), 1)
	}
	c.awaitNoComplaint()
	c.mustGoOn()
}

// TestRemovedDependency removes a dependency under monitors that have it: first
// its members, which takes their files away, and then itself, which is told.
func TestRemovedDependency(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.zk.create(dependencyRoot+"/extra.dep", nil)
	good := f.subscribe(goodKey)[0]
	f.publish(goodKey, 1)
	c := &company{f, f.startFaces(monitorConfig{Dependencies: []string{boxDep, "extra.dep"}}), good, 1}
	name := fileName(pointers + "extra")
	f.publish("extra", 1)
	f.publishMetaconfigRaw(name, version(1), configObject(pointers+"extra"))
	f.zk.addMember("extra.dep", name)
	for _, m := range c.faces {
		m.awaitSoon(name, 1)
	}
	f.zk.remove(dependencyRoot + "/extra.dep/" + name)
	for _, m := range c.faces {
		await(t, name+" to go", func() error { return gone(m.config(name)) })
	}
	f.zk.remove(dependencyRoot + "/extra.dep")
	c.awaitNow("extra.dep: ", "kingpin dependency create extra.dep")
	c.mustGoOn()
	f.zk.addMember("extra.dep", name)
	for _, m := range c.faces {
		m.awaitSoon(name, 1)
	}
	c.awaitNoComplaint()
}

// TestMembersThatAreNoNames lists in a dependency what can't be the name of a
// metaconfig.
func TestMembersThatAreNoNames(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	c := newCompany(f, monitorConfig{})
	long := strings.Repeat("x", 300)
	for _, member := range []string{long, "a b", "$(reboot)", ".dep", "-rf"} {
		f.zk.create(dependencyRoot+"/"+boxDep+"/"+member, nil)
	}
	c.awaitTold(boxDep, long[:200], "ignored", "kingpin dependency remove "+boxDep)
	c.awaitNow("a b: ", "kingpin metaconfig set 'a b' FILE")
	c.awaitNow("$(reboot): ", "kingpin metaconfig set '$(reboot)' FILE")
	c.mustGoOn()
	for _, member := range []string{long, "a b", "$(reboot)", ".dep", "-rf"} {
		f.zk.remove(dependencyRoot + "/" + boxDep + "/" + member)
	}
	c.awaitNoComplaint()
	c.mustGoOn()
}
