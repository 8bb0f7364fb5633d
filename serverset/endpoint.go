package serverset

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The limits of DNS, in bytes.
const (
	maxHostLen  = 253
	maxLabelLen = 63
)

// maxEndpointLen is beyond what any endpoint can have. A line of a damaged file
// may have megabytes.
const maxEndpointLen = 2 * maxHostLen

// CheckEndpoint refuses what isn't host:port with a port from 1 to 65535. The
// host is an IPv4 address; a name of letters, digits, "-", "_" and "."; or an
// IPv6 address in brackets, which the readers of the Python fleet can't parse.
// What passes holds no white space or control character, so that it can stand
// in a line of a file.
func CheckEndpoint(endpoint string) error {
	if len(endpoint) > maxEndpointLen {
		return fmt.Errorf("endpoint %q…: it has %d bytes, more than any host:port", endpoint[:maxLabelLen], len(endpoint))
	}
	host, port, err := cutPort(endpoint)
	if err != nil {
		return fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	if err := checkHost(host); err != nil {
		return fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	if err := checkPort(port); err != nil {
		return fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	return nil
}

// cutPort splits an endpoint at the colon before its port.
func cutPort(endpoint string) (host, port string, err error) {
	colon := strings.LastIndexByte(endpoint, ':')
	if colon < 0 {
		return "", "", errors.New("it has no port, want host:port")
	}
	return endpoint[:colon], endpoint[colon+1:], nil
}

func checkPort(port string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	// The canonical form alone, so that one endpoint has one text.
	if err != nil || n == 0 || port != strconv.FormatUint(n, 10) {
		return fmt.Errorf("the port %q is not a number from 1 to 65535", port)
	}
	return nil
}

func checkHost(host string) error {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !closed || err != nil || !addr.Is6() || addr.Zone() != "" {
			return fmt.Errorf("the host %q is not an IPv6 address in brackets", host)
		}
		return nil
	}
	if host == "" {
		return errors.New("it has no host, want host:port")
	}
	if len(host) > maxHostLen {
		return fmt.Errorf("the host has %d bytes, more than the %d of a DNS name", len(host), maxHostLen)
	}
	label := ""
	for label = range strings.SplitSeq(host, ".") {
		if err := checkLabel(label); err != nil {
			return fmt.Errorf("the host %q: %w", host, err)
		}
	}
	// No top-level domain is a number, so this is meant as an address.
	if isDigits(label) {
		if addr, err := netip.ParseAddr(host); err != nil || !addr.Is4() {
			return fmt.Errorf("the host %q is neither an IPv4 address nor a name", host)
		}
	}
	return nil
}

func checkLabel(label string) error {
	if label == "" || len(label) > maxLabelLen {
		return fmt.Errorf("between its dots must stand 1 to %d characters", maxLabelLen)
	}
	if label[0] == '-' {
		return fmt.Errorf("%q begins with a hyphen", label)
	}
	for i := range len(label) {
		switch c := label[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return fmt.Errorf("the character %q is not allowed", label[i:i+1])
		}
	}
	return nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
