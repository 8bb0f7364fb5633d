package systemd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// setting is one assignment of a unit.
type setting struct{ section, key, value string }

// settings returns what a unit sets, in its order.
func settings(t *testing.T, file string) []setting {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []setting
	section := ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(name, "]")
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			all = append(all, setting{section, key, value})
		}
	}
	return all
}

// values returns all values of a key.
func values(all []setting, key string) []string {
	var found []string
	for _, s := range all {
		if s.key == key {
			found = append(found, s.value)
		}
	}
	return found
}

// units are the units' files.
func units(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.service")
	if err != nil || len(files) != 2 {
		t.Fatalf("the units are %q, %v", files, err)
	}
	return files
}

// analyze runs systemd-analyze.
func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatalf("%v: install Debian's package systemd (make deps)", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_COLORS=0")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err = cmd.Run()
	return output.String(), err
}

// installed writes a unit as if it were installed on this machine, where
// /usr/bin/kingpin may be missing, and returns its path.
func installed(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(path, bytes.ReplaceAll(content, []byte("/usr/bin/kingpin"), []byte(binary(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// systemd understands every line of the units.
func TestUnitsAreUnderstood(t *testing.T) {
	for _, file := range units(t) {
		if output, err := analyze(t, "verify", installed(t, file)); err != nil || output != "" {
			t.Errorf("systemd-analyze verify %s: %v\n%s", file, err, output)
		}
	}
}

// systemd rates what a service could do, from 0 to 10. The registration is
// confined by all that there is; what is left is the network, and files to read.
// The monitor stays within "OK", below 5.0: it runs as root, mounts, and can't
// have what takes a mount namespace of its own, which is most of the rest.
func TestUnitsAreConfined(t *testing.T) {
	for file, tenths := range map[string]int{"kingpin-monitor.service": 49, "kingpin-register@.service": 15} {
		output, err := analyze(t, "security", "--no-pager", "--offline=true", fmt.Sprint("--threshold=", tenths), installed(t, file))
		if err != nil {
			t.Errorf("systemd-analyze security %s: %v\n%s", file, err, output)
		}
	}
}

// ownNamespace are the settings with which systemd gives a service a mount
// namespace of its own; see docs/systemd.md.
var ownNamespace = []string{
	"BindPaths", "BindReadOnlyPaths", "DynamicUser", "ExecPaths", "ExtensionDirectories", "ExtensionImages",
	"InaccessiblePaths", "MountAPIVFS", "MountFlags", "MountImages", "NoExecPaths", "PrivateDevices", "PrivateIPC",
	"PrivateMounts", "PrivateNetwork", "PrivatePIDs", "PrivateTmp", "PrivateUsers", "ProcSubset", "ProtectControlGroups",
	"ProtectHome", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "ProtectSystem",
	"ReadOnlyPaths", "ReadWritePaths", "RootDirectory", "RootImage", "TemporaryFileSystem",
}

// Nobody would see what the monitor mounts in a mount namespace of its own.
func TestMonitorMountsForTheWholeMachine(t *testing.T) {
	for _, s := range settings(t, "kingpin-monitor.service") {
		if slices.Contains(ownNamespace, s.key) {
			t.Errorf("%s=%s gives the monitor a mount namespace of its own", s.key, s.value)
		}
	}
}

// systemd before version 254 doesn't say how many descriptors it keeps.
func TestMonitorIsToldHowMuchIsKept(t *testing.T) {
	all := settings(t, "kingpin-monitor.service")
	most := values(all, "FileDescriptorStoreMax")
	if len(most) != 1 || !slices.Contains(values(all, "Environment"), "FDSTORE="+most[0]) {
		t.Errorf("FileDescriptorStoreMax is %q, and the environment has %q", most, values(all, "Environment"))
	}
}

// help returns what a command of the binary says about itself; ok is false if
// there is no such command.
func help(t *testing.T, command ...string) (text string, ok bool) {
	t.Helper()
	output, err := exec.Command(binary(t), append(command, "--help")...).Output()
	return string(output), err == nil
}

var (
	variable = regexp.MustCompile(`KINGPIN_[A-Z0-9_]+`)
	bracket  = regexp.MustCompile(`\[(KINGPIN_[A-Z0-9_]+)\]`)
)

// kingpin.env has every variable that the monitor reads, and no other.
func TestEnvironmentFileHasEveryVariable(t *testing.T) {
	text, ok := help(t, "monitor")
	if !ok {
		t.Fatal("kingpin monitor --help fails")
	}
	known := map[string]bool{}
	for _, match := range bracket.FindAllStringSubmatch(text, -1) {
		known[match[1]] = true
	}
	if len(known) < 10 {
		t.Fatalf("kingpin monitor --help names only %v", known)
	}
	content, err := os.ReadFile("kingpin.env")
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]bool{}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "#")
		name, value, assigns := strings.Cut(line, "=")
		if !assigns || !variable.MatchString(name) || strings.ContainsAny(name, " ") {
			continue
		}
		if set[name] {
			t.Errorf("%s is there twice", name)
		}
		set[name] = true
		// systemd takes a # behind a value for a part of it.
		if strings.Contains(value, "#") {
			t.Errorf("%s has the value %q", name, value)
		}
		if !known[name] {
			t.Errorf("%s is none of the monitor's variables", name)
		}
	}
	for name := range known {
		if !set[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

// A unit that can be enabled starts a command that there is.
func TestUnitsStartWhatThereIs(t *testing.T) {
	for _, file := range units(t) {
		all := settings(t, file)
		canBeEnabled := slices.ContainsFunc(all, func(s setting) bool { return s.section == "Install" })
		for _, s := range all {
			if !strings.HasPrefix(s.key, "Exec") {
				continue
			}
			words := strings.Fields(s.value)
			if words[0] != "/usr/bin/kingpin" {
				if info, err := os.Stat(words[0]); err != nil || info.Mode()&0o111 == 0 {
					t.Errorf("%s: %s=%s: %s can't be run", file, s.key, s.value, words[0])
				}
				continue
			}
			if text, ok := help(t, words[1]); canBeEnabled && (!ok || !strings.Contains(text, "kingpin "+words[1])) {
				t.Errorf("%s: %s=%s: kingpin has no command %q", file, s.key, s.value, words[1])
			}
		}
	}
}
