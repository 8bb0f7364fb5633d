// Package systemd holds the tests of the units and the environment file beside
// it: of their text, as part of all tests, and, with the build tag systemdboot
// and by `make test-systemd`, of the monitor under a systemd that has booted.
package systemd
