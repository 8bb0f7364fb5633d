package serverset

import (
	"crypto/md5"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// BadMember is a member of a serverset, or a line of its file, that gives no
// endpoint. It is left out of what is served; the caller logs and counts it.
type BadMember struct {
	Member string // as it was found
	Err    error  // what is wrong with it, quoting the part that is
}

// ParseMember returns the endpoints that the znode of a member stands for: what
// follows the first hyphen of its name, "<uuid>-host:port". It is one endpoint,
// or several in old data that has them run together (see parseEndpoints). An
// error means that nothing of it may be served.
func ParseMember(znode string) ([]string, error) {
	_, text, found := strings.Cut(znode, "-")
	if !found {
		return nil, fmt.Errorf("member %q: want <uuid>-host:port, it has no hyphen", znode)
	}
	endpoints, err := parseEndpoints(text)
	if err != nil {
		return nil, fmt.Errorf("member %q: %w", znode, err)
	}
	return endpoints, nil
}

// parseEndpoints parses one endpoint, or several that run together, such as
// 10.99.184.69:900010.37.170.125:9006. Where one ends and the next begins can
// be told only if all their ports have as many digits as the last one.
func parseEndpoints(text string) ([]string, error) {
	single := CheckEndpoint(text)
	if single == nil {
		return []string{text}, nil
	}
	colons := strings.Count(text, ":")
	if colons < 2 {
		return nil, single
	}
	portLen := len(text) - 1 - strings.LastIndexByte(text, ':')
	var endpoints []string
	for rest := text; rest != ""; {
		end := min(strings.IndexByte(rest, ':')+1+portLen, len(rest))
		if err := CheckEndpoint(rest[:end]); err != nil {
			return nil, fmt.Errorf("it has %d colons and can't be split into endpoints with ports of %d digits: %w",
				colons, portLen, err)
		}
		endpoints = append(endpoints, rest[:end])
		rest = rest[end:]
	}
	return endpoints, nil
}

// Parse returns the endpoints of a serverset's members, sorted and without
// duplicates, never nil; and the members that give none, in the order given.
func Parse(members []string) (endpoints []string, bad []BadMember) {
	return collect(members, ParseMember)
}

// ParseFile returns the endpoints of a serverset file, sorted and without
// duplicates, never nil; and the lines that are none. It reads what Render
// writes and what the Python fleet wrote: in any order, with empty lines, with
// or without the last newline, with endpoints run together. Blanks around an
// endpoint don't count, so lines may end in CRLF.
func ParseFile(content []byte) (endpoints []string, bad []BadMember) {
	var lines []string
	for line := range strings.SplitSeq(string(content), "\n") {
		if line = strings.Trim(line, " \t\r"); line != "" {
			lines = append(lines, line)
		}
	}
	return collect(lines, parseEndpoints)
}

func collect(texts []string, parse func(string) ([]string, error)) (endpoints []string, bad []BadMember) {
	endpoints = make([]string, 0, len(texts))
	for _, text := range texts {
		found, err := parse(text)
		if err != nil {
			bad = append(bad, BadMember{Member: text, Err: err})
			continue
		}
		endpoints = append(endpoints, found...)
	}
	return normalize(endpoints), bad
}

// normalize sorts endpoints in place and removes duplicates.
func normalize(endpoints []string) []string {
	slices.Sort(endpoints)
	return slices.Compact(endpoints)
}

// Render returns the content of a serverset's file: one endpoint a line,
// sorted, without duplicates, a newline after each. An empty list gives an
// empty file. The endpoints must have passed CheckEndpoint.
func Render(endpoints []string) []byte {
	sorted := normalize(slices.Clone(endpoints))
	size := 0
	for _, endpoint := range sorted {
		size += len(endpoint) + 1
	}
	content := make([]byte, 0, size)
	for _, endpoint := range sorted {
		content = append(append(content, endpoint...), '\n')
	}
	return content
}

// Hashsum returns the number by which the monitors' HTTP endpoint lets fleets
// compare serversets: the sum of the decimal digits of the MD5, taken as an
// integer, of the sorted endpoints joined by commas.
func Hashsum(endpoints []string) int {
	text := strings.Join(slices.Sorted(slices.Values(endpoints)), ",")
	digest := md5.Sum([]byte(text))
	sum := 0
	for _, digit := range new(big.Int).SetBytes(digest[:]).String() {
		sum += int(digit - '0')
	}
	return sum
}
