package managed

import (
	"fmt"
	"strings"

	"github.com/kingpinfs/kingpin/store"
)

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
