// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver_test

import (
	"fmt"
	"net"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// insist listens with all that a program can say to share an address.
func insist(t *testing.T, network, address string) (net.Listener, error) {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) (failed error) {
		err := conn.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			if failed == nil {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
		})
		if err != nil {
			return err
		}
		return failed
	}}
	lc.SetMultipathTCP(false)
	return lc.Listen(t.Context(), network, address)
}

// quietPort returns a port that nobody has of any address, and that the kernel gives nobody who does not name it.
func quietPort(t *testing.T) cardbroker.Port {
	t.Helper()
	for port := cardbroker.Port(23000); port < 24000; port++ {
		if all, err := httpserver.Listen(t.Context(), "tcp", fmt.Sprintf(":%d", port)); err == nil {
			all.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// TestListenIsExclusive: nobody shares a port with us, whoever came first, whatever he says, on both addresses, on one of them,
// or on all.
func TestListenIsExclusive(t *testing.T) {
	port := quietPort(t)
	number := strconv.Itoa(int(port))
	both, err := httpserver.ListenLoopback(t.Context(), port)
	if err != nil {
		t.Fatal(err)
	}
	others := []struct{ network, address string }{
		{"tcp4", "127.0.0.1:" + number}, {"tcp4", "0.0.0.0:" + number}, {"tcp", "[::]:" + number}, {"tcp6", "[::]:" + number},
	}
	if len(both) == 2 {
		others = append(others, struct{ network, address string }{"tcp6", "[::1]:" + number})
	}
	for _, other := range others[:3] { // all of IPv6 alone leaves 127.0.0.1 to others
		if l, err := insist(t, other.network, other.address); err == nil {
			l.Close()
			t.Errorf("another program listens on %s, too", other.address)
		}
	}
	if len(both) == 2 {
		for _, other := range others[3:] {
			if l, err := insist(t, other.network, other.address); err == nil {
				l.Close()
				t.Errorf("another program listens on %s (%s), too", other.address, other.network)
			}
		}
	}
	for _, l := range both {
		l.Close()
	}
	for _, other := range others {
		if other.network == "tcp6" && len(both) < 2 {
			continue
		}
		first, err := insist(t, other.network, other.address)
		if err != nil {
			t.Fatal(err)
		}
		got, err := httpserver.ListenLoopback(t.Context(), port)
		if cardbroker.ReasonOf(err) != cardbroker.Conflict {
			t.Errorf("where another program listens on %s (%s), ListenLoopback = %v, %v, want conflict", other.address, other.network, got, err)
		}
		first.Close()
		if l, err := insist(t, "tcp4", "127.0.0.1:"+number); err != nil {
			t.Errorf("what ListenLoopback had taken already it keeps: %v", err)
		} else {
			l.Close()
		}
	}
}
