package serverset

import (
	"slices"
	"strings"
	"testing"
)

func TestParseMember(t *testing.T) {
	const uuid = "2890a90311ce4d8aa0656bf1650d7e6c"
	tests := []struct {
		znode string
		want  []string
	}{
		{uuid + "-10.86.5.55:80", []string{"10.86.5.55:80"}},
		{uuid + "-userfeed-8a4e2be7:8707", []string{"userfeed-8a4e2be7:8707"}},
		{uuid + "-a.b-c.example.com:9090", []string{"a.b-c.example.com:9090"}},
		{"69ca9daa191e40-userfeed:8707", []string{"userfeed:8707"}},
		{uuid + "-10.99.184.69:900010.37.170.125:9006", []string{"10.99.184.69:9000", "10.37.170.125:9006"}},
		{uuid + "-a-1:80b-2:90c-3:70", []string{"a-1:80", "b-2:90", "c-3:70"}},
		{uuid + "-[::1]:80", []string{"[::1]:80"}},
	}
	for _, test := range tests {
		got, err := ParseMember(test.znode)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("ParseMember(%q) = %q, %v; want %q", test.znode, got, err, test.want)
		}
	}
	bad := []struct{ znode, want string }{
		{"", "no hyphen"},
		{uuid, "no hyphen"},
		{uuid + "-", "no port"},
		{uuid + "-10.0.0.1", "no port"},
		{uuid + "-10.0.0.1:80:90", "split"},
		{uuid + "-10.0.0.1:80:", "split"},
		{uuid + "-::", "split"},
		{uuid + "-10.0.0.1:80\n10.0.0.2:80", "split"},
		{uuid + "-10.0.0.1:8010.0.0.2:9000", "split"}, // ports of different lengths
	}
	for _, test := range bad {
		got, err := ParseMember(test.znode)
		if err == nil || got != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("ParseMember(%q) = %q, %v; want an error with %q", test.znode, got, err, test.want)
		}
	}
}

func TestParse(t *testing.T) {
	endpoints, bad := Parse([]string{"c-h-2:80", "a-h-1:80", "nothing", "b-h-1:80", "d-h-3:0"})
	if want := []string{"h-1:80", "h-2:80"}; !slices.Equal(endpoints, want) {
		t.Errorf("endpoints = %q, want %q", endpoints, want)
	}
	if len(bad) != 2 || bad[0].Member != "nothing" || bad[1].Member != "d-h-3:0" || bad[0].Err == nil || bad[1].Err == nil {
		t.Errorf("bad = %v, want the two that are no endpoints", bad)
	}
	if endpoints, bad := Parse(nil); endpoints == nil || len(endpoints) != 0 || bad != nil {
		t.Errorf("Parse(nil) = %v, %v; want an empty list", endpoints, bad)
	}
}

func TestParseFile(t *testing.T) {
	// As Python left it: unsorted, an empty line, two run together, no last newline.
	endpoints, bad := ParseFile([]byte("b:80\n\na:80\n10.99.184.69:900010.37.170.125:9006\na:80\nbroken\nc:80"))
	want := []string{"10.37.170.125:9006", "10.99.184.69:9000", "a:80", "b:80", "c:80"}
	if !slices.Equal(endpoints, want) {
		t.Errorf("endpoints = %q, want %q", endpoints, want)
	}
	if len(bad) != 1 || bad[0].Member != "broken" {
		t.Errorf("bad = %v, want the broken line", bad)
	}
}

func TestRender(t *testing.T) {
	endpoints := []string{"b:80", "a:80", "b:80"}
	if got, want := string(Render(endpoints)), "a:80\nb:80\n"; got != want {
		t.Errorf("Render = %q, want %q", got, want)
	}
	if !slices.Equal(endpoints, []string{"b:80", "a:80", "b:80"}) {
		t.Errorf("Render changed its argument to %q", endpoints)
	}
	if got := Render(nil); got == nil || len(got) != 0 {
		t.Errorf("Render(nil) = %q, want an empty file", got)
	}
}

// The numbers are what the original's get_md5_hash_sum returns.
func TestHashsum(t *testing.T) {
	tests := []struct {
		endpoints []string
		want      int
	}{
		{nil, 210},
		{[]string{"10.0.0.1:80"}, 181},
		{[]string{"host-1.example.com:9000", "10.0.0.2:80", "10.0.0.1:80"}, 162},
	}
	for _, test := range tests {
		if got := Hashsum(test.endpoints); got != test.want {
			t.Errorf("Hashsum(%q) = %d, want %d", test.endpoints, got, test.want)
		}
	}
}

func FuzzParseMember(f *testing.F) {
	for _, seed := range []string{
		"2890a90311ce4d8aa0656bf1650d7e6c-10.86.5.55:80",
		"x-10.99.184.69:900010.37.170.125:9006",
		"x-10.0.0.1", "x-:80", "x-a:80:90", "x-a:8\n0", "-", "x-[::1]:80", "x-a:1b:2c:3d:4", "x-::::",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, znode string) {
		endpoints, err := ParseMember(znode)
		if (err == nil) != (len(endpoints) > 0) {
			t.Fatalf("ParseMember(%q) = %q, %v; want either endpoints or an error", znode, endpoints, err)
		}
		if err != nil {
			return
		}
		_, text, _ := strings.Cut(znode, "-")
		if joined := strings.Join(endpoints, ""); joined != text {
			t.Errorf("the endpoints %q are not what the name %q holds", endpoints, znode)
		}
		for _, endpoint := range endpoints {
			if err := CheckEndpoint(endpoint); err != nil {
				t.Errorf("ParseMember(%q) gave %q: %v", znode, endpoint, err)
			}
		}
	})
}

func FuzzParseFile(f *testing.F) {
	for _, seed := range []string{
		"", "a:80\nb:80\n", "b:80\n\na:80", "\n\n", "a:80\r\nb:80\r\n", "1.2.3.4:80801.2.3.5:8080\n", "\x00:1\n",
		"a:80\na:80\n", "[::1]:80\n::1:80\n", "a\na:\n:1\na:0\na:70000\na:+1\n", " a:80\t\n \n", "10.0.0.1:80\n10.0.0", "\r", ":::::",
		"a:80\n" + strings.Repeat("a", 4096) + ":80\n", strings.Repeat("a:80", 300),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		endpoints, bad := ParseFile(content)
		for i, endpoint := range endpoints {
			if err := CheckEndpoint(endpoint); err != nil {
				t.Errorf("it gives %q: %v", endpoint, err)
			}
			if i > 0 && endpoints[i-1] >= endpoint {
				t.Errorf("the endpoints %q aren't sorted and without duplicates", endpoints)
			}
		}
		// Nothing vanishes without a word.
		var lines []string
		for _, line := range bad {
			lines = append(lines, line.Member)
			if line.Err == nil || len(line.Err.Error()) > 10*maxEndpointLen {
				t.Errorf("the bad line %q has the error %v", line.Member, line.Err)
			}
		}
		for line := range strings.SplitSeq(string(content), "\n") {
			line = strings.Trim(line, " \t\r")
			parts, _ := parseEndpoints(line)
			for _, part := range parts {
				if !slices.Contains(endpoints, part) {
					t.Errorf("%q is missing", part)
				}
			}
			if line != "" && parts == nil && !slices.Contains(lines, line) {
				t.Errorf("the bad line %q is missing", line)
			}
		}
		again, bad := ParseFile(Render(endpoints))
		if !slices.Equal(again, endpoints) || bad != nil {
			t.Errorf("%q was rendered and read back as %q, bad %v", endpoints, again, bad)
		}
	})
}
