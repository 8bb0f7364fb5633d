package managed

import (
	"fmt"
	"strings"

	"github.com/kingpinfs/kingpin/store"
)

// filePrefix begins the name of each managed value's file.
const filePrefix = "config.manageddata."

// CheckDomainKey refuses, with an Invalid error, what can't be the domain and
// the key of a managed value: anything but letters, digits, "-" and "_".
func CheckDomainKey(domain, key string) error {
	for _, part := range []struct{ what, text string }{{"domain", domain}, {"key", key}} {
		switch {
		case part.text == "":
			return fmt.Errorf("%w %s: it is empty", store.Invalid, part.what)
		case strings.ContainsFunc(part.text, notNameChar):
			return fmt.Errorf("%w %s %q: only letters, digits, - and _ may be used", store.Invalid, part.what, part.text)
		}
	}
	return nil
}

func notNameChar(c rune) bool {
	return (c < 'a' || 'z' < c) && (c < 'A' || 'Z' < c) && (c < '0' || '9' < c) && c != '-' && c != '_'
}

// File returns the name of a managed value's file, in which domain and key are
// in lower case. The error is that of CheckDomainKey.
func File(domain, key string) (string, error) {
	if err := CheckDomainKey(domain, key); err != nil {
		return "", err
	}
	return filePrefix + strings.ToLower(domain) + "." + strings.ToLower(key), nil
}

// ParseName returns domain and key of a managed value that people name by
// "domain.key", or by its file. The error is Invalid.
func ParseName(name string) (domain, key string, err error) {
	domain, key, ok := strings.Cut(strings.TrimPrefix(name, filePrefix), ".")
	if !ok {
		return "", "", fmt.Errorf("%w name %q: want DOMAIN.KEY", store.Invalid, name)
	}
	if err := CheckDomainKey(domain, key); err != nil {
		return "", "", fmt.Errorf("%w (in %q: want DOMAIN.KEY)", err, name)
	}
	return domain, key, nil
}
