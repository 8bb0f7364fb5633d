package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/admin"
)

func (a *app) newStatusCommand() *cobra.Command {
	var (
		where  adminOptions
		output outputFormat
		all    bool
	)
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: groupMachine,
		Short:   "Show what this machine serves, how fresh, and what is wrong",
		Long: `Ask this machine's monitor what it serves, how fresh that is, and what is wrong.

The states: fresh, the newest version; stale, the last good version, because the
newest can't be had or isn't known; held, a suspicious serverset is held back;
absent, nothing has ever been there to serve. The table shows what isn't fresh,
and with --all everything.

The exit code says only whether a monitor answered. For alerts there are the
health check and the metrics on the same address.`,
		Example: `  kingpin status
  kingpin status --all
  kingpin status --output json | jq '.configs[] | select(.state != "fresh")'`,
		Args: noArgs,
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, _ []string) error {
			var status admin.Status
			if err := where.get(ctx, "/admin/status", &status); err != nil {
				return err
			}
			if output == outputJSON {
				return printJSON(a.stdout, status)
			}
			return printStatus(a.stdout, &status, all, time.Now())
		}),
	}
	where.addFlags(cmd.Flags())
	output.addFlag(cmd.Flags())
	cmd.Flags().BoolVar(&all, "all", false, "show fresh files too")
	return cmd
}

func printStatus(out io.Writer, s *admin.Status, all bool, now time.Time) error {
	mode := s.Mode
	if s.ModeReason != "" {
		mode += ": " + s.ModeReason
	}
	zookeeper := "connected to " + s.ZooKeeper.Server + ", session " + s.ZooKeeper.Session
	if !s.ZooKeeper.Connected {
		zookeeper = "not connected: " + s.ZooKeeper.Error
	}
	writers := s.Writers
	if writers == "" {
		writers = "nobody through the files: plain ones are read-only, use kingpin decider and kingpin config"
	}
	summary := [][2]string{
		{"mode", mode},
		{"writers", writers},
		{"ready", yesNo(s.Ready)},
		{"healthy", yesNo(s.Healthy)},
		{"zookeeper", zookeeper},
		{"configs", countStates(s.Configs) + " in " + s.ConfigDir},
		{"serversets", countStates(s.Serversets) + " in " + s.ServersetDir},
		{"monitor", fmt.Sprintf("version %s, pid %d, up %v", s.HolderVersion, s.HolderPID, age(now, &s.StartedAt))},
		{"worker", describeWorker(s, now)},
	}
	if s.Mended != nil {
		summary = append(summary, [2]string{"mended", fmt.Sprintf("%d plain files that somebody changed by hand, the last %s, %s", s.Mended.Times, s.Mended.Name, ago(now, &s.Mended.At))})
	}
	if s.Problem != "" {
		summary = append(summary, [2]string{"problem", s.Problem})
	}
	for _, warning := range s.Warnings {
		summary = append(summary, [2]string{"warning", warning})
	}
	for _, line := range summary {
		fmt.Fprintf(out, "%-11s %s\n", line[0], line[1])
	}
	rows := append(fileRows(s.Configs, all, now), fileRows(s.Serversets, all, now)...)
	rows = append(rows, nodeRows("metaconfig", s.Metaconfigs)...)
	rows = append(rows, nodeRows("dependency", s.Dependencies)...)
	if len(rows) > 0 {
		fmt.Fprintln(out)
	}
	return printTable(out, []string{"NAME", "STATE", "VERSION", "SYNCED", "WHY"}, rows)
}

// describeWorker tells of the process that does the monitor's work, and of the
// one before it.
func describeWorker(s *admin.Status, now time.Time) string {
	text := "none"
	if s.WorkerStarted != nil {
		text = fmt.Sprintf("pid %d, up %v", s.WorkerPID, age(now, s.WorkerStarted))
		if s.Version != s.HolderVersion {
			text = "version " + s.Version + ", " + text
		}
	}
	if s.Restarts > 0 {
		text += fmt.Sprintf("; %d before it, of which the last ended: %s", s.Restarts, s.LastExit)
	}
	return text
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// countStates tells how many files there are, and of how many not all is well.
func countStates(files []admin.FileStatus) string {
	counts := map[string]int{}
	for i := range files {
		counts[files[i].State]++
	}
	text := strconv.Itoa(len(files))
	for _, state := range []string{"stale", "held", "absent"} {
		if n := counts[state]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, state)
		}
	}
	return text
}

func fileRows(files []admin.FileStatus, all bool, now time.Time) [][]string {
	var rows [][]string
	for i := range files {
		f := &files[i]
		if f.State == "fresh" && !all {
			continue
		}
		version := f.Version
		if f.Endpoints != nil {
			version = fmt.Sprintf("%d endpoints", len(f.Endpoints))
		}
		why := f.Error
		if f.Held != nil {
			why = fmt.Sprintf("%d endpoints held back since %s: %s", len(f.Held.Endpoints), f.Held.Since.Local().Format(time.DateTime), f.Held.Reason)
		}
		rows = append(rows, []string{f.Name, f.State, version, ago(now, f.SyncedAt), why})
	}
	return rows
}

func nodeRows(kind string, nodes []admin.NodeStatus) [][]string {
	var rows [][]string
	for _, n := range nodes {
		if n.Error != "" {
			rows = append(rows, []string{n.Name, kind, "", "", n.Error})
		}
	}
	return rows
}

// ago says how long ago something was.
func ago(now time.Time, t *time.Time) string {
	if t == nil {
		return "never"
	}
	return age(now, t).String() + " ago"
}

func age(now time.Time, t *time.Time) time.Duration {
	return max(now.Sub(*t).Round(time.Second), 0)
}
