package fs

import (
	"fmt"
	"os"
	"testing"
)

func TestTellsKilled(t *testing.T) {
	const status = "Name:\tsh\nTgid:\t7\n%sSigQ:\t0/1\nSigPnd:\t%016x\nShdPnd:\t%016x\nSigBlk:\t0000000000000000\n"
	const memory = "VmSize:\t    4 kB\n"
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"nothing":                {"", false},
		"running":                {fmt.Sprintf(status, memory, 0, 0), false},
		"SIGTERM is blocked":     {fmt.Sprintf(status, memory, 0, 1<<14), false},
		"ends by itself":         {fmt.Sprintf(status, "", 0, 0), false},
		"ends, a child as well":  {fmt.Sprintf(status, "", 0, 1<<16), false},
		"killed":                 {fmt.Sprintf(status, "", 0, 1<<8), true},
		"interrupted":            {fmt.Sprintf(status, "", 0, 1<<1), true},
		"killed, of the thread":  {fmt.Sprintf(status, "", 1<<8, 0), true},
		"what can't be a status": {"ShdPnd:\tx\nSigPnd:\n", false},
	} {
		if got := tellsKilled(c.text); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if isKilled(uint32(os.Getpid())) {
		t.Error("this process is taken for killed")
	}
}
