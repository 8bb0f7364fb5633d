// Package devtest gives tests the servers of devcluster. A server that can't
// be started fails the test with the name of the package to install; nothing
// is ever skipped.
package devtest

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// exit is what Main does after the tests.
var exit struct {
	mu      sync.Mutex // guards the rest
	inMain  bool
	actions []func() error
}

// Main runs a package's tests, stops the servers that they shared, and fails
// if goroutines are left. A package whose tests share servers must have
//
//	func TestMain(m *testing.M) { devtest.Main(m) }
//
// The options are handed to goleak. It doesn't return.
func Main(m *testing.M, opts ...goleak.Option) {
	exit.mu.Lock()
	exit.inMain = true
	exit.mu.Unlock()

	code := m.Run()
	if err := runExitActions(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(opts...); err != nil {
			fmt.Fprintf(os.Stderr, "goroutines are left after the tests: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// AtExit registers what Main is to do after the last test, last registered
// first: to end what the package's tests share. It fails the test if the
// package doesn't use Main, because then nobody would do it.
func AtExit(t testing.TB, action func() error) {
	t.Helper()
	exit.mu.Lock()
	defer exit.mu.Unlock()
	if !exit.inMain {
		t.Fatal("a package whose tests share servers needs: func TestMain(m *testing.M) { devtest.Main(m) }")
	}
	exit.actions = append(exit.actions, action)
}

func runExitActions() error {
	exit.mu.Lock()
	actions := exit.actions
	exit.actions = nil
	exit.mu.Unlock()
	for _, action := range slices.Backward(actions) {
		if err := action(); err != nil {
			return err
		}
	}
	return nil
}
