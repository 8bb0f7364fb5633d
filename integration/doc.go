// Package integration holds the black-box tests: the kingpin binary against
// real ZooKeeper, real S3 and real mounts. They know the binary by its command
// line and its HTTP endpoints, and the fleet's data by docs/wire-format.md
// alone: no package of this module is used to read or write it.
//
// The files harness_*_test.go are what the tests are written with:
//
//	f := newFleet(t, gofakes3)             // ZooKeeper and S3, this test's own part of them
//	f.run("dependency", "create", "x.dep") // a command that must succeed
//	m := f.startMonitor(monitorConfig{Mode: "fuse", Dependencies: []string{"x.dep"}})
//	m.awaitConfig("config.manageddata.a.b", "content")
//	f.zk.join("/discovery/svc/prod", "10.0.0.1:80")
//	m.terminate()
//
// Everything that a test starts or mounts is gone when it ends, however it
// ends; a monitor's log is printed if the test failed.
package integration
