package sync

import (
	"errors"
	"fmt"

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
		return "kingpin metaconfig set " + k.name + " FILE"
	}
	return "kingpin config put " + k.name + " FILE"
}

// neverWritten is the error of a pointer that names no version.
func neverWritten(what, subject string) error {
	return &store.Error{Op: "reading " + what, Subject: subject, Kind: store.Invalid, Err: errors.New("nothing has been written to it yet")}
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
	return fmt.Errorf("%w: have the -f of metaconfig %q give the file another name, with: kingpin metaconfig set %s FILE", err, by, by)
}
