package register

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/store"
)

// findEndpoint returns what is to be registered. If the host isn't given it waits
// until ZooKeeper has been reached.
func (r *Registration) findEndpoint(ctx context.Context, conn *zkconn.Conn, servers []string) (string, error) {
	if r.cfg.Host != "" {
		return joinEndpoint(r.cfg.Host, r.cfg.Port), nil
	}
	for {
		if err := conn.WaitConnected(ctx); err != nil {
			return "", err
		}
		local, _, err := net.SplitHostPort(conn.Status().LocalAddr)
		if err != nil {
			continue // it was lost meanwhile
		}
		host, err := ownAddress(ctx, local, servers)
		if err != nil {
			return "", &store.Error{Op: "finding this machine's address for", Subject: r.cfg.Service, Kind: store.Invalid,
				Err: fmt.Errorf("%w; say which it is, by --host or Config.Host", err)}
		}
		endpoint := joinEndpoint(host, r.cfg.Port)
		if err := serverset.CheckEndpoint(endpoint); err != nil {
			return "", &store.Error{Op: "finding this machine's address for", Subject: r.cfg.Service, Kind: store.Invalid,
				Err: fmt.Errorf("%w; say which it is, by --host or Config.Host", err)}
		}
		return endpoint, nil
	}
}

// ownAddress returns the address under which this machine is known to those of
// the others that ZooKeeper's servers are on. local is where a connection to one
// of them comes from. Where a server is on this machine, that may be a loopback
// address, which is no other machine's business; then the ways to the other
// servers count.
func ownAddress(ctx context.Context, local string, servers []string) (string, error) {
	address, err := netip.ParseAddr(local)
	if err != nil {
		return "", err
	}
	if !address.Unmap().IsLoopback() {
		return address.Unmap().String(), nil
	}
	addresses, err := addressesOf(ctx, servers)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(addresses, func(a netip.AddrPort) bool { return !a.Addr().IsLoopback() }) {
		return address.Unmap().String(), nil // all of it is on this machine
	}
	for _, server := range addresses {
		if way, ok := wayTo(ctx, server); ok && !way.IsLoopback() {
			return way.String(), nil
		}
	}
	return "", errors.New("ZooKeeper is reached from a loopback address, which other machines can't reach")
}

// addressesOf resolves ZooKeeper's servers.
func addressesOf(ctx context.Context, servers []string) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	var errs []error
	for _, server := range servers {
		host, port, err := net.SplitHostPort(server)
		if err != nil {
			return nil, err
		}
		number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
		if err != nil {
			return nil, err
		}
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		errs = append(errs, err)
		for _, address := range found {
			all = append(all, netip.AddrPortFrom(address.Unmap(), uint16(number)))
		}
	}
	if len(all) == 0 {
		return nil, errors.Join(errs...)
	}
	return all, nil
}

// wayTo returns the address from which packets to a server would come. A
// connected UDP socket tells, and sends none.
func wayTo(ctx context.Context, server netip.AddrPort) (netip.Addr, bool) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", server.String())
	if err != nil {
		return netip.Addr{}, false
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return local.AddrPort().Addr().Unmap(), true
}
