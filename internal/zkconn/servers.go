package zkconn

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/kingpinfs/kingpin/store"
)

// defaultPort is ZooKeeper's.
const defaultPort = "2181"

// ParseServers takes apart a connect string as ZooKeeper's own tools know it:
// "host:port,host:port/chroot". A port that is left out is 2181; an IPv6
// address with a port stands in brackets. Errors are Invalid.
func ParseServers(s string) (servers []string, chroot string, err error) {
	invalid := func(err error) error {
		return &store.Error{Op: "parsing ZooKeeper's servers", Subject: s, Kind: store.Invalid, Err: err}
	}
	list := strings.TrimSpace(s)
	if i := strings.IndexByte(list, '/'); i >= 0 {
		list, chroot = list[:i], list[i:]
		if chroot, err = parseChroot(chroot); err != nil {
			return nil, "", invalid(err)
		}
	}
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		server, err := parseServer(part)
		if err != nil {
			return nil, "", invalid(err)
		}
		if !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
	}
	if len(servers) == 0 {
		return nil, "", invalid(errors.New("it names no server; write host:port,host:port/chroot"))
	}
	return servers, chroot, nil
}

// FindServers returns the servers that a connect string names, see ParseServers,
// or else those in a hosts file, see ReadHostsFile, whose bad lines are left out.
// One of the two is to be given. Errors are Invalid, or the file's.
func FindServers(connect, hostsFile string) (servers []string, chroot string, err error) {
	switch {
	case (connect == "") == (hostsFile == ""):
		return nil, "", &store.Error{Op: "configuring access to", Subject: "ZooKeeper", Kind: store.Invalid,
			Err: errors.New("give one of Config.ZooKeeper and Config.ZooKeeperHostsFile")}
	case connect != "":
		return ParseServers(connect)
	default:
		servers, _, err = ReadHostsFile(hostsFile)
		return servers, "", err
	}
}

// ReadHostsFile reads the servers from a file: one host:port a line. Blank
// lines and what follows a # are skipped. A bad line among good ones is a
// warning that names the file and the line; a file without a good line is an
// error.
func ReadHostsFile(path string) (servers []string, warnings []string, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading ZooKeeper's servers: %w", err)
	}
	servers, warnings = parseHosts(content, path)
	if len(servers) == 0 {
		cause := errors.New("it names no server; write one host:port a line")
		if len(warnings) > 0 {
			cause = fmt.Errorf("none of its lines names a server: %s", strings.Join(warnings, "; "))
		}
		return nil, warnings, &store.Error{Op: "reading ZooKeeper's servers", Subject: path, Kind: store.Invalid, Err: cause}
	}
	return servers, warnings, nil
}

// parseHosts parses the content of a hosts file; name is for the warnings.
func parseHosts(content []byte, name string) (servers, warnings []string) {
	content = bytes.TrimPrefix(content, []byte("\ufeff")) // a byte order mark
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		server, err := parseServer(line)
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("%s:%d: %v", name, number, err))
			continue
		}
		if !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
	}
	return servers, warnings
}

// parseServer checks one server and adds the port if that is left out.
func parseServer(s string) (string, error) {
	host, port := s, defaultPort
	// More than one colon without brackets is an IPv6 address without a port.
	if strings.HasPrefix(s, "[") || strings.Count(s, ":") == 1 {
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", fmt.Errorf("%q is not host:port", s)
		}
	}
	if !isHost(host) {
		return "", fmt.Errorf("%q is not host:port: the host must be a name or an IP address", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("%q is not host:port: the port must be a number from 1 to 65535", s)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// isHost says whether s looks like a host name or an IP address. Underscores
// are none of DNS's business, but names have them.
func isHost(s string) bool {
	if strings.Contains(s, ":") {
		address, zone, zoned := strings.Cut(s, "%")
		return net.ParseIP(address) != nil && (!zoned || isName(zone))
	}
	return isName(s)
}

func isName(s string) bool {
	if s == "" || len(s) > 255 || s[0] == '-' || s[0] == '.' {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return true
}

// parseChroot checks a chroot and returns it without a slash at the end: "" is
// none.
func parseChroot(s string) (string, error) {
	chroot := strings.TrimRight(s, "/")
	if chroot == "" {
		return "", nil
	}
	if strings.TrimSpace(chroot) != chroot {
		return "", fmt.Errorf("the chroot %q ends in a space", s)
	}
	if err := checkPath(chroot); err != nil {
		return "", fmt.Errorf("the chroot %q: %w", s, err)
	}
	return chroot, nil
}
