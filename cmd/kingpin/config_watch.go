package main

import "github.com/spf13/cobra"

func (a *app) newConfigWatchCommand() *cobra.Command {
	cmd := a.newWatchCommand("config-dir", "/var/config")
	cmd.Short = "Print each new version of a config, or run a command with it"
	cmd.Long = `Print what this machine serves of a config, and then each new version as soon as
it is there: byte for byte, one after the other, or with --output json a line of
JSON for each, with its name, version, mtime and content (content_base64 if that
isn't UTF-8). NAME is a file name in /var/config, or decider/NAME.

With COMMAND, run it with each version on its standard input instead, without a
shell, one run at a time: what comes meanwhile is skipped, except for the last.
Its environment has KINGPIN_NAME and KINGPIN_VERSION, which is empty for plain
files: they don't tell their version.

It reads the file and asks nobody else, so it needs neither fleet nor monitor.
It doesn't poll, waits for a file that isn't there, and goes on whatever becomes
of the monitor. The same content isn't handed out twice in a row.

` + watchExit
	cmd.Example = `  kingpin config watch config.manageddata.spam.grey_list
  kingpin config watch decider/new_feed --output json
  kingpin config watch config.manageddata.spam.grey_list -- jq -c .
  kingpin config watch config.manageddata.nginx.upstreams -- sh -c 'cat > /etc/nginx/upstreams.conf && nginx -s reload'`
	return cmd
}
