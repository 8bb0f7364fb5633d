package sync

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// withAdvice adds to an error the command that mends what it is about.
func withAdvice(err error, command string) error {
	return fmt.Errorf("%w; mend it with: %s", err, command)
}

// republish is the command that publishes a good version of a config or a
// metaconfig.
func (k key) republish() string {
	if k.kind == metaconfigItem {
		return "kingpin metaconfig set " + word(k.name) + " FILE"
	}
	return "kingpin config put " + word(k.name) + " FILE"
}

// word is a name as it stands in a command: people copy commands to shells, and
// a name can be anything.
func word(name string) string {
	if strings.ContainsFunc(name, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("-_./", c)
	}) {
		name = "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	if strings.HasPrefix(name, "-") {
		return "-- " + name
	}
	return name
}

// create is the command that creates a znode, where the fleet's names tell it,
// and else what creates it.
func create(path string) string {
	parts := strings.Split(path, "/")
	switch {
	case len(parts) == 5 && strings.HasPrefix(path, "/config/manageddata/"):
		return "kingpin metaconfig create-config " + word(parts[3]) + " " + word(parts[4])
	case len(parts) == 4 && parts[1] == "discovery":
		return "kingpin metaconfig create-serverset " + word(parts[2]) + " " + word(parts[3])
	}
	return "zkCli.sh create " + word(path)
}

// createMetaconfig is the command that creates a metaconfig of a name.
func createMetaconfig(name string) string {
	if path, err := metaconfig.ZKPathOf(name); err == nil {
		if command := create(path); strings.HasPrefix(command, "kingpin ") {
			return command
		}
	}
	return "kingpin metaconfig set " + word(name) + " FILE"
}

// errNeverWritten is what is wrong with a pointer that names no version.
var errNeverWritten = errors.New("nothing has been written to it yet")

func neverWritten(what, subject string) error {
	return &store.Error{Op: "reading " + what, Subject: subject, Kind: store.Invalid, Err: errNeverWritten}
}

// adviseFetch adds to what S3 answered what a person can do about it, where S3
// doesn't say.
func (k key) adviseFetch(err error) error {
	switch store.KindOf(err) {
	case store.NotFound:
		return fmt.Errorf("%w; S3 may have it in a moment. If it is lost, publish it again with: %s", err, k.republish())
	case store.TooLarge:
		return fmt.Errorf("%w; publish a smaller one with: %s; or give --max-content", err, k.republish())
	}
	return err
}

// advisePublish adds to what the sink refused how to mend it, where the name of
// the file is what is wrong. by is the metaconfig that asks for it.
func advisePublish(err error, by string) error {
	if store.KindOf(err) != store.Invalid {
		return err
	}
	return fmt.Errorf("%w: have the -f of metaconfig %q give the file another name, with: kingpin metaconfig set %s FILE", err, by, word(by))
}
