// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// restarting answers as the broker does for an agent that is gone.
func restarting(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "2")
	w.WriteHeader(http.StatusServiceUnavailable)
}

type guarded struct {
	*testHost
	guard interface {
		Run(context.Context) error
		Free(context.Context, cardbroker.Port) error
	}
	stop func()
}

// newGuarded starts a host on the given ports, and its guard.
func newGuarded(t *testing.T, ports string) *guarded {
	h := &guarded{testHost: newTestHost(t, ports)}
	ctx, cancel := context.WithCancel(context.Background())
	h.guard = registry.NewGuard(h.Registry, http.HandlerFunc(restarting), quiet())
	var wg sync.WaitGroup
	wg.Go(func() { h.guard.Run(ctx) })
	h.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(h.stop)
	return h
}

// free has the guard close the port, and by that waits until it has seen the View of now.
func (h *guarded) free(port cardbroker.Port) {
	h.t.Helper()
	if err := h.guard.Free(h.t.Context(), port); err != nil {
		h.t.Fatalf("Free(%d) = %v", port, err)
	}
}

// freePorts returns ports that nobody has bound just now, as a range of two. They lie below those that clients of the host get for
// their own ends, and the agents of other packages' tests.
func freePorts(t *testing.T) (string, cardbroker.Port) {
	for range 1000 {
		port := cardbroker.Port(19200 + 2*rand.N(300))
		_, first := registry.ProvePort(t.Context(), port)
		_, second := registry.ProvePort(t.Context(), port+1)
		if first == nil && second == nil {
			return fmt.Sprintf("%d-%d", port, port+1), port
		}
	}
	t.Fatal("no two ports are free")
	return "", 0
}

// waitGuarded returns once the guard answers on the port at the given address.
func waitGuarded(t *testing.T, host string, port cardbroker.Port) *http.Response {
	t.Helper()
	client := http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for {
		response, err := client.Get(fmt.Sprintf("http://%s:%d/v3/readers", host, port))
		if err == nil {
			response.Body.Close()
			return response
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || t.Context().Err() != nil {
			t.Fatalf("GET %s:%d = %v", host, port, err)
		}
	}
}

func TestGuardHoldsThePortsOfAgentsThatAreGone(t *testing.T) {
	ports, _ := freePorts(t)
	h := newGuarded(t, ports)
	alice := h.logon(1000, "3")
	port := alice.reserve()
	h.free(port)
	ipv6, err := registry.ProvePort(t.Context(), port)
	if err != nil {
		t.Fatalf("provePort(%d) = %v, want the port of a reservation to be free", port, err)
	}
	registered := alice.register()
	for name, lose := range map[string]func(){
		"stale":      func() { alice.detach(registered) },
		"quarantine": func() { alice.release() },
	} {
		t.Run(name, func(t *testing.T) {
			lose()
			hosts := []string{"127.0.0.1"}
			if ipv6 {
				hosts = append(hosts, "[::1]")
			}
			for _, host := range hosts {
				response := waitGuarded(t, host, port)
				if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || !response.Close {
					t.Errorf("answer on %s = %s %v, close %t, want 503 with Retry-After and close", host, response.Status, response.Header, response.Close)
				}
			}
			_, err := registry.ProvePort(t.Context(), port)
			wantRefusal(t, "provePort()", err, cardbroker.Conflict, "")
			if again := alice.reserve(); again != port {
				t.Fatalf("Reserve() = %d, want %d", again, port)
			}
			h.free(port)
			if _, err := registry.ProvePort(t.Context(), port); err != nil {
				t.Errorf("provePort(%d) = %v, want it free after Free", port, err)
			}
			registered = alice.register()
		})
	}
}

// A page's connection must not keep talking to the guard once the agent is back.
func TestFreeEndsConnectionsToo(t *testing.T) {
	ports, _ := freePorts(t)
	h := newGuarded(t, ports)
	alice := h.logon(1000, "3")
	port := alice.reserve()
	alice.release()
	waitGuarded(t, "127.0.0.1", port)
	conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /v3/readers HTTP/1.1\r\n") // a request that never ends
	alice.reserve()
	h.free(port)
	if _, err := bufio.NewReader(conn).ReadByte(); err == nil {
		t.Error("the connection is served after Free, want it closed")
	}
	listeners, err := httpserver.ListenLoopback(t.Context(), port)
	if err != nil {
		t.Errorf("the agent cannot bind its port: %v", err)
	}
	for _, l := range listeners {
		l.Close()
	}
}

// A process that is killed may hold its port a moment longer than its link: nothing else changes then.
func TestGuardTakesAPortThatBecomesFree(t *testing.T) {
	ports, _ := freePorts(t)
	h := newGuarded(t, ports)
	alice := h.logon(1000, "3")
	port := alice.reserve()
	h.free(port)
	listeners, err := httpserver.ListenLoopback(t.Context(), port) // the agent itself, whose link is lost
	if err != nil {
		t.Fatal(err)
	}
	alice.detach(alice.register())
	h.free(0) // the guard has tried
	listeners[0].Close()
	if len(listeners) == 2 {
		h.free(0)                                                                           // half of the port is not enough
		if answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port)); err == nil { // refused, or reset by the next try
			answer.Body.Close()
			t.Error("the guard answers on a port whose other half is in use")
		}
		listeners[1].Close()
	}
	waitGuarded(t, "127.0.0.1", port)
}

func TestGuardEndsWithAllItsPorts(t *testing.T) {
	ports, _ := freePorts(t)
	h := newGuarded(t, ports)
	var held []cardbroker.Port
	for uid := range uint32(2) {
		a := h.logon(1000+uid, "3")
		held = append(held, a.reserve())
		a.release()
	}
	for _, port := range held {
		waitGuarded(t, "127.0.0.1", port)
	}
	h.stop()
	for _, port := range held {
		if _, err := registry.ProvePort(t.Context(), port); err != nil {
			t.Errorf("provePort(%d) = %v, want it free after the end", port, err)
		}
	}
	h.free(held[0]) // nobody to ask any more: the port is free
}

func TestProvePort(t *testing.T) {
	_, port := freePorts(t)
	for _, c := range []struct{ name, network, address string }{
		{"free", "", ""},
		{"IPv4 loopback taken", "tcp4", "127.0.0.1"},
		{"IPv4 wildcard taken", "tcp4", "0.0.0.0"},
		{"IPv6 loopback taken", "tcp6", "[::1]"},
		{"IPv6 wildcard taken", "tcp6", "[::]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want cardbroker.Reason
			if c.network != "" {
				l, err := httpserver.Listen(t.Context(), c.network, fmt.Sprintf("%s:%d", c.address, port))
				if err != nil {
					testenv.Skip(t, fmt.Sprintf("needs %s: %v", c.address, err))
				}
				defer l.Close()
				want = cardbroker.Conflict
			}
			_, err := registry.ProvePort(t.Context(), port)
			wantRefusal(t, "provePort()", err, want, "")
		})
	}
}
