// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// newHolding starts a host whose guard holds the ports of all agents; what is accepted goes to accepted.
func newHolding(t *testing.T, ports string) (h *guarded, accepted chan string) {
	t.Helper()
	h = &guarded{testHost: newTestHost(t, ports)}
	h.cfg.Hold = true
	h.restart()
	accepted = make(chan string, 8)
	guard := registry.NewGuard(h.Registry, http.HandlerFunc(restarting), quiet())
	guard.Accept = func(ctx context.Context, l net.Listener) error {
		stop := context.AfterFunc(ctx, func() { l.Close() })
		defer stop()
		for {
			conn, err := l.Accept()
			if err != nil {
				return nil
			}
			accepted <- conn.LocalAddr().String()
			conn.Close()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { guard.Run(ctx) })
	h.guard, h.stop = guard, func() { cancel(); wg.Wait() }
	t.Cleanup(h.stop)
	return h, accepted
}

// TestHoldAlways: from its reservation on, through all states and quarantine, a port is the guard's and nobody else's.
func TestHoldAlways(t *testing.T) {
	ports, _ := freePorts(t)
	h, accepted := newHolding(t, ports)
	guard := h.guard.(*registry.Guard)
	alice := h.logon(1000, "3")
	port := alice.reserve()
	listen, err := guard.Hold(t.Context(), port)
	if err != nil || len(listen) == 0 {
		t.Fatalf("Hold(%d) = %v, %v", port, listen, err)
	}
	held := func(state string) {
		t.Helper()
		if again, err := guard.Hold(t.Context(), port); err != nil || len(again) != len(listen) {
			t.Errorf("%s: Hold = %v, %v, want %v as before", state, again, err, listen)
		}
		for _, address := range listen {
			var dialer net.Dialer
			dialer.SetMultipathTCP(false)
			conn, err := dialer.DialContext(t.Context(), "tcp", address)
			if err != nil {
				t.Fatalf("%s: %v", state, err)
			}
			conn.Close()
			if got := <-accepted; got != address {
				t.Errorf("%s: accepted on %s, want %s", state, got, address)
			}
		}
		if _, err := registry.ProvePort(t.Context(), port); cardbroker.ReasonOf(err) != cardbroker.Conflict {
			t.Errorf("%s: ProvePort = %v, want a conflict", state, err)
		}
	}
	held("reserved")
	registered := alice.register()
	held("registered")
	alice.detach(registered)
	held("stale")
	alice.release()
	held("quarantine")
	h.stop()
	if _, err := registry.ProvePort(t.Context(), port); err != nil {
		t.Errorf("after the guard's end: %v, want a free port", err)
	}
	if _, err := guard.Hold(t.Context(), port); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Hold after its end = %v, want unavailable", err)
	}
}

// TestHoldTaken: a port that somebody has is a conflict, and is held once he has gone.
func TestHoldTaken(t *testing.T) {
	ports, _ := freePorts(t)
	h, _ := newHolding(t, ports)
	guard := h.guard.(*registry.Guard)
	squatters, err := httpserver.ListenLoopback(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	port := cardbroker.Port(squatters[0].Addr().(*net.TCPAddr).Port)
	if _, err := guard.Hold(t.Context(), port); cardbroker.ReasonOf(err) != cardbroker.Conflict {
		t.Errorf("Hold = %v, want a conflict", err)
	}
	for _, l := range squatters {
		l.Close()
	}
	if _, err := guard.Hold(t.Context(), port); err != nil {
		t.Errorf("Hold = %v once it is free", err)
	}
}
