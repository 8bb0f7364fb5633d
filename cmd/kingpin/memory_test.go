package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryIsGivenBackWhenCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m tidier
		defer m.close()
		spent := func() uint64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.spent
		}
		garbage := make([]byte, worthTidying)
		garbage[0] = 1
		for range 10 {
			m.worked()
			<-time.After(calmTime / 2)
		}
		if spent() != 0 {
			t.Error("memory was given back while there was work")
		}
		<-time.After(calmTime)
		synctest.Wait()
		first := spent()
		if first == 0 {
			t.Fatal("memory was not given back")
		}
		m.worked()
		<-time.After(2 * calmTime)
		synctest.Wait()
		if spent() != first {
			t.Error("memory was given back after a little work")
		}
	})
}

func TestMemoryIsLeftAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m tidier
		m.worked()
		m.close()
		m.worked()
		<-time.After(2 * calmTime)
		synctest.Wait()
		if m.spent != 0 {
			t.Error("memory was given back after the end")
		}
	})
}

func TestProgramPages(t *testing.T) {
	found, err := programPages("/proc/self/maps", "/proc/self/exe")
	if err != nil || len(found) < 2 {
		t.Errorf("this program is at %v: %v", found, err)
	}
	dir := t.TempDir()
	exe, maps := filepath.Join(dir, "exe"), filepath.Join(dir, "maps")
	if err := os.Symlink("/opt/a dir/kingpin", exe); err != nil {
		t.Fatal(err)
	}
	text := strings.Join([]string{
		"00400000-00f4e000 r-xp 00000000 fe:00 1234                               /opt/a dir/kingpin",
		"00f4e000-01a5c000 r--p 00b4e000 fe:00 1234                               /opt/a dir/kingpin",
		"01a5c000-01ace000 rw-p 0165c000 fe:00 1234                               /opt/a dir/kingpin",
		"39d2dd000000-39d2e1400000 rw-p 00000000 00:00 0 ",
		"7f9c70000000-7f9c70021000 r--s 00000000 fe:00 99                         /opt/a dir/kingpin",
		"7ffd1000-7ffd2000 r-xp 00000000 00:00 0                                  [vdso]",
		"",
	}, "\n")
	if err := os.WriteFile(maps, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err = programPages(maps, exe)
	want := []addresses{{0x400000, 0xf4e000}, {0xf4e000, 0x1a5c000}}
	if err != nil || len(found) != 2 || found[0] != want[0] || found[1] != want[1] {
		t.Errorf("the program is at %x, want %x: %v", found, want, err)
	}
	giveMemoryBack() // and this program goes on
}
