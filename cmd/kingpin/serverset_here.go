package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/admin"
)

// hereTimeout is how long a command waits for this machine's monitor that can do
// without it.
const hereTimeout = 3 * time.Second

// here is what this machine's monitor serves of serversets.
type here struct {
	files []admin.FileStatus
	err   error // why nobody knows; then there are none
}

// askHere asks the monitor. That there is none is no error.
func askHere(ctx context.Context, where *adminOptions) here {
	ctx, cancel := context.WithTimeout(ctx, hereTimeout)
	defer cancel()
	var status admin.Status
	if err := where.get(ctx, "/admin/status", &status); err != nil {
		return here{err: err}
	}
	return here{files: status.Serversets}
}

// named returns the serverset whose file has a name; nil if it isn't served.
func (h *here) named(name string) *admin.FileStatus {
	for i := range h.files {
		if h.files[i].Name == name {
			return &h.files[i]
		}
	}
	return nil
}

// describeHere says in a few words what this machine serves of a serverset.
func describeHere(state string, endpoints int) string {
	if state == "absent" {
		return state
	}
	return state + ", " + count(endpoints, "endpoint")
}

// count says how many there are of something.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// completeHeld completes names of serversets that this machine holds back.
func completeHeld(where *adminOptions) completion {
	return func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if applyEnvironment(cmd.Flags(), os.Getenv) == nil {
			local := askHere(cmd.Context(), where)
			for i := range local.files {
				file := &local.files[i]
				if file.State == "held" && strings.HasPrefix(file.Name, begun) {
					names = append(names, file.Name)
				}
			}
		}
		slices.Sort(names)
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
