package devcluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
)

// firstPort is the lowest port that FreePort hands out: well above those that
// services are registered for and people use by hand.
const firstPort = 10000

// handedOut remembers the ports that FreePort returned, so that two servers
// that are being started don't get the same.
var handedOut struct {
	mu    sync.Mutex // guards ports
	ports map[int]bool
}

// FreePort returns a TCP port of 127.0.0.1 that nobody listens on, and that
// it hasn't returned before. It lies below the range from which the kernel
// takes the ports of outgoing connections: so a server may be down for a while
// and find its port free when it is restarted. Another program may still take
// it; who starts a server there tries again with another port.
func FreePort() (int, error) {
	limit := firstOutgoingPort()
	if limit <= firstPort {
		return anyPort()
	}
	handedOut.mu.Lock()
	defer handedOut.mu.Unlock()
	if handedOut.ports == nil {
		handedOut.ports = make(map[int]bool)
	}
	for range 1000 {
		port := firstPort + rand.IntN(limit-firstPort)
		if handedOut.ports[port] || listenOnce(port) != nil {
			continue
		}
		handedOut.ports[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("finding a free port: 1000 ports between %d and %d are taken", firstPort, limit)
}

// anyPort asks the kernel for a port, where its range leaves us none.
func anyPort() (int, error) {
	l, err := listenOn(0)
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	address, err := netip.ParseAddrPort(l.Addr().String())
	return int(address.Port()), errors.Join(err, l.Close())
}

// listenOn listens on a port of 127.0.0.1; 0 is any.
func listenOn(port int) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(context.Background(), "tcp", hostPort(port))
}

// listenOnce returns nil if the port could be listened on just now.
func listenOnce(port int) error {
	l, err := listenOn(port)
	if err != nil {
		return err
	}
	return l.Close()
}

// firstOutgoingPort returns the low end of the kernel's range of ports for
// outgoing connections: 32768, unless somebody has set it.
func firstOutgoingPort() int {
	low, err := readPortRange()
	if err != nil {
		return 32768
	}
	return low
}

func readPortRange() (low int, err error) {
	content, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, err
	}
	var high int
	n, err := fmt.Sscan(string(content), &low, &high)
	if err != nil || n != 2 {
		return 0, errors.Join(fmt.Errorf("unexpected content %q", content), err)
	}
	return low, nil
}

// hostPort returns the address of a port of this machine.
func hostPort(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
