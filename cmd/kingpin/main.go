// Command kingpin distributes configs and the members of services to every
// machine of a fleet, as files. `kingpin monitor` keeps a machine's files
// current; the other commands read and write what the fleet gets.
//
// A subcommand's file declares its flags and makes one call into a library.
package main

import (
	"context"
	"os"
)

// version is set by the linker; see the Makefile.
var version = "dev"

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
