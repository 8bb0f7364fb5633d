// Package admin answers the monitor's HTTP endpoints: those that health checks
// and scripts of the Python monitor's days ask for, the status that kingpin
// status prints, and metrics. docs/wire-format.md lists the endpoints that
// other software relies on.
package admin
