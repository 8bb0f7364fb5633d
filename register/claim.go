package register

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// claim is the right to register an endpoint, which one process of a machine (of
// a network namespace, to be exact: the endpoint's) has at a time. The kernel
// takes it back when the process ends, however it does.
type claim struct{ listener net.Listener }

// claimName names the right.
func claimName(servers []string, chroot, parent, endpoint string) string {
	sorted := slices.Sorted(slices.Values(servers))
	sum := sha256.Sum256([]byte(strings.Join(append(sorted, chroot, parent, endpoint), "\n")))
	return "@kingpin-register-" + hex.EncodeToString(sum[:16])
}

// takeClaim takes a claim, or says who has it. It is a Unix socket with an
// abstract name: there is no file that could be left.
func takeClaim(ctx context.Context, name string) (*claim, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", name)
	if err == nil {
		return &claim{listener}, nil
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("making sure that no other process registers it: %w", err)
	}
	return nil, fmt.Errorf("%s registers it already; stop the one or the other", claimant(ctx, name))
}

// claimant says who has a claim.
func claimant(ctx context.Context, name string) string {
	const unknown = "another process of this machine"
	conn, err := new(net.Dialer).DialContext(ctx, "unix", name)
	if err != nil {
		return unknown
	}
	defer conn.Close()
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return unknown
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return unknown
	}
	var peer *unix.Ucred
	if err := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || peer == nil || peer.Pid == 0 { // 0: of another namespace
		return unknown
	}
	return fmt.Sprintf("the process %d of this machine", peer.Pid)
}

// release gives the claim back.
func (c *claim) release() { _ = c.listener.Close() }
