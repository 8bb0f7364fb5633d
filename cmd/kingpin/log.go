package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// daemonAnnotation marks a command that runs for long: it logs more unless
// told otherwise.
const daemonAnnotation = "kingpin_daemon"

type logOptions struct {
	Level  string `json:"level"`
	Format string `json:"format"`
}

func (o *logOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.Level, "log-level", "", "the least important `LEVEL` that is logged to stderr: debug, info, warn or error\n(default warn; info for daemons)")
	flags.StringVar(&o.Format, "log-format", "text", "the `FORMAT` of the log: text or json")
	bindEnvironment(flags, "log-level", "log-format")
}

func (o *logOptions) logger(out io.Writer, cmd *cobra.Command) (*slog.Logger, error) {
	level := slog.LevelWarn
	if cmd.Annotations[daemonAnnotation] != "" {
		level = slog.LevelInfo
	}
	if o.Level != "" {
		if err := level.UnmarshalText([]byte(o.Level)); err != nil {
			return nil, fmt.Errorf("--log-level %q is none of debug, info, warn and error", o.Level)
		}
	}
	o.Level = level.String() // for a worker, which is told
	options := &slog.HandlerOptions{Level: level}
	switch o.Format {
	case "text":
		return slog.New(slog.NewTextHandler(out, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(out, options)), nil
	}
	return nil, fmt.Errorf("--log-format %q is neither text nor json", o.Format)
}
