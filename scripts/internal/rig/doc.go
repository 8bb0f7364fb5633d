// Package rig is the machine under test of scripts/bench and scripts/soak: real
// servers, a fleet's data on them, a real `kingpin monitor`, and processes that
// read what it serves. Everything that takes part in a measurement is a process
// of its own, so that nothing of ours (its garbage collector, say) is measured
// with it. All of it ends with the program.
package rig
