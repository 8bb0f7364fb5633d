package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/kingpinfs/kingpin/store"
)

// writeOptions are the flags of commands that publish a value: who does it,
// why, and under which condition.
type writeOptions struct {
	author, comment string
	flags           *pflag.FlagSet // tells --expect-version '' from none
	expectVersion   string
}

// addFlags declares the flags.
func (o *writeOptions) addFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.StringVar(&o.author, "author", "", "who the history says made the change (default you, at this host)")
	flags.StringVar(&o.comment, "comment", "", "what the history says of the change")
	flags.StringVar(&o.expectVersion, "expect-version", "", "refuse unless this `VERSION` is the current one")
}

// write returns what the flags say.
func (o *writeOptions) write() (store.Write, error) {
	write := store.Write{Author: o.author, Comment: o.comment}
	if write.Author == "" {
		write.Author = defaultAuthor()
	}
	if o.flags.Changed("expect-version") {
		var expected store.Version
		if o.expectVersion != "" {
			var err error
			if expected, err = store.ParseVersion(o.expectVersion); err != nil {
				return write, usagef("--expect-version: %w", err)
			}
		}
		write.Expect = &expected
	}
	return write, nil
}

// defaultAuthor names the person: the one who called sudo, rather than root.
func defaultAuthor() string {
	name := os.Getenv("SUDO_USER")
	if name == "" {
		if current, err := user.Current(); err == nil {
			name = current.Username
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

// printVersion tells the result of a write.
func (a *app) printVersion(name string, version store.Version, output outputFormat) error {
	if output == outputJSON {
		return printJSON(a.stdout, struct {
			Name    string        `json:"name"`
			Version store.Version `json:"version"`
		}{name, version})
	}
	_, err := fmt.Fprintln(a.stdout, version)
	return err
}

// readContent reads a file, or standard input for "-" and for no name at all.
// An empty content is refused, as the monitors refuse it: it is what a command
// gets whose pipe has failed.
func (a *app) readContent(file string) ([]byte, error) {
	in, subject := a.stdin, "standard input"
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("reading the content: %w", err)
		}
		defer f.Close()
		in, subject = f, file
	} else if isTerminal(in) {
		return nil, usagef("the content would be read from the terminal: name a FILE, or pipe the content in")
	}
	// One byte more than a value may have tells the store that it is too large.
	content, err := io.ReadAll(io.LimitReader(in, store.DefaultMaxContent+1))
	if err != nil {
		return nil, fmt.Errorf("reading the content from %q: %w", subject, err)
	}
	switch {
	case len(content) > 0:
		return content, nil
	case file == "":
		return nil, usagef("no FILE is named and standard input is empty")
	default:
		return nil, &store.Error{Op: "reading the content from", Subject: subject, Kind: store.Invalid,
			Err: errors.New("it is empty, and no monitor would serve that: an empty list is [], an empty map {}")}
	}
}

// isTerminal tells whether a person sits at a stream.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
