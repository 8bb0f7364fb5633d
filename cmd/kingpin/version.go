package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// versionInfo is what `kingpin version --output json` prints.
type versionInfo struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) newVersionCommand() *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		Long:    "Print the version of this binary, of Go, and the platform that it was built for.",
		Example: "  kingpin version\n  kingpin version --output json",
		Args:    noArgs,
		RunE: a.runE(func(context.Context, *cobra.Command, []string) error {
			info := versionInfo{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if output == outputJSON {
				return printJSON(a.stdout, info)
			}
			_, err := fmt.Fprintf(a.stdout, "kingpin %s (%s, %s)\n", info.Version, info.Go, info.Platform)
			return err
		}),
	}
	output.addFlag(cmd.Flags())
	return cmd
}
