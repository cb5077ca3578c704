// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"

	"github.com/cardbroker/cardbroker"
)

// portTries is how many free ports of 127.0.0.1 are tried until one is free on [::1] too.
const portTries = 16

// Listen listens on one address, where nobody else does or will, with multipath TCP off: the kernel's tables show plain TCP only.
func Listen(ctx context.Context, network, address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: exclusive}
	lc.SetMultipathTCP(false)
	return lc.Listen(ctx, network, address)
}

// ListenLoopback listens on port of 127.0.0.1 and of [::1]; a host without IPv6 gets the first alone. Port 0 is one that
// is free on both. A port that somebody has is a Conflict.
func ListenLoopback(ctx context.Context, port cardbroker.Port) ([]net.Listener, error) {
	for try := 1; ; try++ {
		listeners, err := listenBoth(ctx, port)
		if err == nil || port != 0 || try == portTries || cardbroker.ReasonOf(err) != cardbroker.Conflict {
			return listeners, err
		}
	}
}

func listenBoth(ctx context.Context, port cardbroker.Port) ([]net.Listener, error) {
	v4, err := Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return nil, listenError(err, "127.0.0.1", port)
	}
	port = cardbroker.Port(addrPort(v4.Addr()).Port())
	v6, err := Listen(ctx, "tcp6", net.JoinHostPort("::1", strconv.Itoa(int(port))))
	switch {
	case err == nil:
		return []net.Listener{v4, v6}, nil
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return []net.Listener{v4}, nil // no IPv6 on this host
	}
	v4.Close()
	return nil, listenError(err, "[::1]", port)
}

func listenError(err error, host string, port cardbroker.Port) error {
	if taken(err) {
		return cardbroker.Wrapf(err, cardbroker.Conflict, "port %d of %s is taken by another program", port, host)
	}
	return cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot listen on port %d of %s", port, host)
}
