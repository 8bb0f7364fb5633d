package metaconfig

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

// ConfigSubscription returns what create-config makes of a managed value: its
// subscription under the default names, in lower case. The error is Invalid if
// domain or key hold anything but letters, digits, "-" and "_".
func ConfigSubscription(domain, key string) (Subscription, error) {
	if err := checkPart("domain", domain); err != nil {
		return Subscription{}, err
	}
	if err := checkPart("key", key); err != nil {
		return Subscription{}, err
	}
	name := "config.manageddata." + strings.ToLower(domain) + "." + strings.ToLower(key)
	sub := defaultSubscription(Config, name)
	sub.KeyPrefix = "data" + sub.ZKPath
	return sub, nil
}

// ServersetSubscription returns what create-serverset makes of a serverset:
// its subscription under the default names. The error is Invalid if service or
// environment hold anything but letters, digits, "-" and "_".
func ServersetSubscription(service, environment string) (Subscription, error) {
	if err := checkPart("service", service); err != nil {
		return Subscription{}, err
	}
	if err := checkPart("environment", environment); err != nil {
		return Subscription{}, err
	}
	return defaultSubscription(Serverset, "discovery."+service+"."+environment), nil
}

// defaultSubscription is how metaconfigs of checked names are made: metaconfig,
// section and file have the same name, the znode's with dots for slashes.
func defaultSubscription(kind Type, name string) Subscription {
	return Subscription{
		Metaconfig:     name,
		Section:        name,
		Type:           kind,
		ZKPath:         "/" + strings.ReplaceAll(name, ".", "/"),
		File:           name,
		RejectionRatio: DefaultRejectionRatio,
		MinimumSize:    DefaultMinimumSize,
	}
}

// Render returns the metaconfig that holds the given subscriptions, as the
// fleet writes it: Python's json.dumps separators, the fields in their usual
// order. Parse reads them back. The error is Invalid if a name holds anything
// but letters, digits and "-_./": the Python monitors run the command in a
// shell, as root.
func Render(subs ...Subscription) ([]byte, error) {
	var text strings.Builder
	text.WriteByte('[')
	for i, sub := range subs {
		if i > 0 {
			text.WriteString(", ")
		}
		if err := sub.render(&text); err != nil {
			return nil, err
		}
	}
	text.WriteByte(']')
	return []byte(text.String()), nil
}

// render writes a subscription whose strings, once checked, need no quoting:
// neither in JSON nor in a shell.
func (s Subscription) render(text *strings.Builder) error {
	if err := s.checkWritable(); err != nil {
		return err
	}
	fmt.Fprintf(text, `{"config_section_name": "%s", "zk_path": "%s", "command": "%s", "type": "%s", "max_wait_in_secs": %d`,
		s.Section, s.ZKPath, s.command(), s.Type, s.MaxWait/time.Second)
	if s.AlertDisabled {
		text.WriteString(`, "alert_disabled": "true"`)
	}
	text.WriteByte('}')
	return nil
}

// command returns the downloader's command line, its options in the order in
// which the fleet's tools write them.
func (s Subscription) command() string {
	words := []string{downloader, "-f", s.Type.dir() + "/" + s.File}
	if s.Type == Config {
		if s.KeyPrefix != "" {
			words = append(words, "--from-s3", "/"+s.KeyPrefix)
		}
		words = append(words, "-m", string(s.Type), "-p", s.ZKPath)
	} else {
		words = append(words, "-p", s.ZKPath, "-m", string(s.Type))
	}
	if s.RejectionRatio != DefaultRejectionRatio {
		words = append(words, "-r", strconv.FormatFloat(s.RejectionRatio, 'f', -1, 64))
	}
	if s.MinimumSize != DefaultMinimumSize {
		words = append(words, "--serverset-minimum-size", strconv.Itoa(s.MinimumSize))
	}
	return strings.Join(words, " ")
}

func (s Subscription) checkWritable() error {
	if _, err := parseType(string(s.Type)); err != nil {
		return fmt.Errorf("%w subscription of %q: the type %w", store.Invalid, s.ZKPath, err)
	}
	if err := CheckFile(s.File); err != nil {
		return err
	}
	if err := checkZKPath(s.ZKPath); err != nil {
		return err
	}
	texts := []struct{ what, text string }{
		{"section", s.Section}, {"znode", s.ZKPath}, {"file name", s.File}, {"key prefix", s.KeyPrefix},
	}
	for _, t := range texts {
		if i := strings.IndexFunc(t.text, func(c rune) bool { return !isWordChar(c) && !strings.ContainsRune("-./", c) }); i >= 0 {
			return fmt.Errorf("%w %s %q: only letters, digits and -_./ may stand in a metaconfig, whose command Python monitors run in a shell",
				store.Invalid, t.what, t.text)
		}
	}
	if s.KeyPrefix != "" && s.Type != Config {
		return fmt.Errorf("%w subscription of %q: a serverset has no key prefix", store.Invalid, s.ZKPath)
	}
	switch {
	case s.RejectionRatio < 0 || s.RejectionRatio > 1 || s.RejectionRatio != s.RejectionRatio:
		return fmt.Errorf("%w rejection ratio %g: want a number from 0 to 1", store.Invalid, s.RejectionRatio)
	case s.MinimumSize < 0:
		return fmt.Errorf("%w minimum size %d: it is negative", store.Invalid, s.MinimumSize)
	case s.MaxWait < 0 || s.MaxWait > MaxWait || s.MaxWait%time.Second != 0:
		return fmt.Errorf("%w wait %v: want whole seconds up to %v", store.Invalid, s.MaxWait, MaxWait)
	}
	return nil
}
