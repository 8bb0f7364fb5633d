package serverset

import (
	"regexp"
	"testing"
)

func TestMemberName(t *testing.T) {
	name := MemberName("web-1.example:8080")
	if !regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{19}-web-1\.example:8080$`).MatchString(name) {
		t.Errorf("name is %q", name)
	}
	if endpoints, err := ParseMember(name); err != nil || len(endpoints) != 1 || endpoints[0] != "web-1.example:8080" {
		t.Errorf("ParseMember(%q) = %q, %v", name, endpoints, err)
	}
	if other := MemberName("web-1.example:8080"); other == name {
		t.Errorf("twice the same name %q", name)
	}
}
