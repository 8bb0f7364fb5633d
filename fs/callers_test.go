package fs

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
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

func TestTellsEnded(t *testing.T) {
	for state, want := range map[string]bool{
		"S (sleeping)": false, "D (disk sleep)": false, "Z (zombie)": true, "X (dead)": true,
	} {
		if got := tellsEnded("Name:\tZ\nUmask:\t0022\nState:\t" + state + "\nTgid:\t7\n"); got != want {
			t.Errorf("%s: %v", state, got)
		}
	}
	if tellsEnded("") {
		t.Error("what can't be a status tells that a process has ended")
	}
	if hasEnded(uint32(os.Getpid())) {
		t.Error("this process is taken for one that has ended")
	}
	cmd := exec.Command("true")
	check(t, cmd.Start())
	process := uint32(cmd.Process.Pid)
	await(t, "a process to end", func() bool { return hasEnded(process) }) // nobody has waited for it
	check(t, cmd.Wait())
	if !hasEnded(process) {
		t.Error("a process that is gone has not ended")
	}
}

func TestParseCall(t *testing.T) {
	for text, c := range map[string]struct {
		want call
		ok   bool
	}{
		"1 0x3 0x7f10 0x2a 0x0 0x0 0x0 0x7ffd 0x7f11\n": {call{number: 1, size: 42}, true},
		"0 0x3 0x7f10 0xffffffffffffffff 0x0 0x0 0x0\n": {call{number: 0, size: 1<<64 - 1}, true},
		"18 0x3 0x7f10 ff 0x0 0x0 0x0 0x7ffd 0x7f11":    {call{number: 18, size: 255}, true},
		"-1 0x7ffd 0x7f11\n":                            {}, // blocked, in no call
		"running\n":                                     {},
		"":                                              {},
		"x 0x3 0x7f10 0x2a 0x0 0x0 0x0 0x7ffd 0x7f11\n":      {},
		"1 0x3 0x7f10 0x 0x0 0x0 0x0 0x7ffd 0x7f11\n":        {},
		"1 0x3 0x7f10 -1 0x0 0x0 0x0 0x7ffd 0x7f11\n":        {},
		"1 0x3 0x7f10 0x10000000000000000 0x0 0x0 0x0 0x0\n": {},
	} {
		got, ok := parseCall(text)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("parseCall(%q): %+v, %v", text, got, ok)
		}
	}
}

func FuzzParseCall(f *testing.F) {
	f.Add("1 0x3 0x7f10 0x2a 0x0 0x0 0x0 0x7ffd 0x7f11\n")
	f.Add("-1 0x7ffd 0x7f11\n")
	f.Add("running\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := parseCall(text)
		if !ok {
			return
		}
		fields := strings.Fields(text)
		again, ok := parseCall(fmt.Sprintf("%d %s %s %#x 0x0 0x0 0x0", c.number, fields[1], fields[2], c.size))
		if !ok || again != c {
			t.Errorf("%q is %+v, which is parsed as %+v, %v", text, c, again, ok)
		}
	})
}
