package serverset

import (
	"strings"
	"testing"
)

func TestCheckEndpoint(t *testing.T) {
	good := []string{
		"10.99.184.69:9000",
		"1.2.3.4:1",
		"1.2.3.4:65535",
		"localhost:80",
		"userfeed-8a4e2be7:8707",
		"a.b-c.example.com:9090",
		"host_1:80",
		"1a.2b:80",
		"xn--bcher-kva.example:443",
		"[::1]:80",
		"[2001:db8::7]:9000",
		strings.Repeat("a", 63) + ":80",
	}
	for _, endpoint := range good {
		if err := CheckEndpoint(endpoint); err != nil {
			t.Errorf("CheckEndpoint(%q): %v", endpoint, err)
		}
	}
	bad := []struct{ endpoint, want string }{
		{"", "no port"},
		{"10.0.0.1", "no port"},
		{":80", "no host"},
		{"10.0.0.1:", "port"},
		{"10.0.0.1:0", "port"},
		{"10.0.0.1:65536", "port"},
		{"10.0.0.1:080", "port"},
		{"10.0.0.1:+80", "port"},
		{"10.0.0.1:80\n", "port"},
		{"10.0.0.1:80 ", "port"},
		{"10.0.0.1:http", "port"},
		{"10.0.0.1:80:90", `":"`},
		{"10.0.0.1:800010.0.0.2:8001", `":"`},
		{"10.0.0.256:80", "neither"},
		{"10.0.0:80", "neither"},
		{"010.0.0.1:80", "neither"},
		{"12345:80", "neither"},
		{"a..b:80", "1 to 63"},
		{".a:80", "1 to 63"},
		{"a.:80", "1 to 63"},
		{strings.Repeat("a", 64) + ":80", "1 to 63"},
		{strings.Repeat("a.", 127) + "a:80", "253"},
		{"-x:80", "hyphen"},
		{"a b:80", `" "`},
		{"a\nb:80", `"\n"`},
		{"a\x00b:80", `"\x00"`},
		{"a/b:80", `"/"`},
		{"bücher:80", "not allowed"},
		{"[::1:80", "brackets"},
		{"[::1%eth0]:80", "brackets"},
		{"[1.2.3.4]:80", "brackets"},
		{"::1:80", "not allowed"},
	}
	for _, test := range bad {
		err := CheckEndpoint(test.endpoint)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("CheckEndpoint(%q) = %v, want an error with %q", test.endpoint, err, test.want)
		}
	}
}
