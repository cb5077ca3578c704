// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/internal/run"
)

var (
	alice = cardbroker.UserID{UID: 61001}
	bob   = cardbroker.UserID{UID: 61002}
)

// startHub runs a hub with one link, alice's, whose messages go to sent.
// newBoard returns a switchboard with its hub, which runs.
func newBoard(t *testing.T) (*switchboard, *run.Group) {
	t.Helper()
	h := newSwitchboard()
	h.Hub = coordinator.NewHub(h.leave)
	group := run.New(t.Context())
	group.Go("hub", h.Run)
	return h, group
}

func startHub(t *testing.T, sent chan api.FromBroker) (*switchboard, *coordinator.Link) {
	t.Helper()
	h, group := newBoard(t)
	t.Cleanup(func() { group.Stop() })
	agent := cardbroker.Agent{Key: cardbroker.AgentKey{User: alice, Session: "1"}, Route: "0123456789abcdef"}
	l := &coordinator.Link{View: coordinator.View{Agent: agent}, Send: func(m api.FromBroker) error { sent <- m; return nil }}
	if err := h.Join(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	return h, l
}

type testLeg struct{ closed chan struct{} }

func newTestLeg() *testLeg               { return &testLeg{closed: make(chan struct{})} }
func (l *testLeg) Next() ([]byte, error) { <-l.closed; return nil, errors.New("closed") }
func (l *testLeg) Write(_ []byte) error  { return nil }
func (l *testLeg) Shutdown(_ error)      {}
func (l *testLeg) Close() error          { close(l.closed); return nil }

func TestHubOpensATunnel(t *testing.T) {
	sent := make(chan api.FromBroker, 1)
	h, l := startHub(t, sent)
	brought := newTestLeg()
	group := run.New(t.Context())
	group.Go("agent", func(ctx context.Context) error {
		open := (<-sent).Open
		if err := h.claim(ctx, open.ID, bob); cardbroker.RuleOf(err) != cardbroker.RuleTicket {
			t.Errorf("claim(bob) = %v, want a refusal: the tunnel is alice's", err)
		}
		if err := h.claim(ctx, open.ID, alice); err != nil {
			t.Errorf("claim(alice) = %v", err)
		}
		if err := h.claim(ctx, open.ID, alice); cardbroker.RuleOf(err) != cardbroker.RuleTicket {
			t.Errorf("claim(alice) again = %v, want a refusal: her leg is coming", err)
		}
		if err := h.deliver(ctx, open.ID, bob, legAnswer{leg: newTestLeg()}); err == nil {
			t.Error("deliver(bob) succeeded")
		}
		if err := h.deliver(ctx, open.ID, alice, legAnswer{leg: brought}); err != nil {
			t.Errorf("deliver(alice) = %v", err)
		}
		if err := h.deliver(ctx, open.ID, alice, legAnswer{leg: newTestLeg()}); err == nil {
			t.Error("a second leg was taken")
		}
		return nil
	})
	got, err := h.open(t.Context(), l.Agent.Route, api.TunnelOpen{Tenant: "issuer"}, refuseTicket())
	if err != nil || got != brought {
		t.Errorf("open = %v, %v, want the leg that was brought", got, err)
	}
	group.Wait()
}

func TestHubRefusals(t *testing.T) {
	sent := make(chan api.FromBroker, 1)
	h, l := startHub(t, sent)
	if _, err := h.open(t.Context(), "fedcba9876543210", api.TunnelOpen{}, refuseTicket()); cardbroker.RuleOf(err) != cardbroker.RuleTicket {
		t.Errorf("open(unknown route) = %v, want what a wrong ticket gets", err)
	}
	busy := cardbroker.Errorf(cardbroker.ReaderBusy, "a back end uses the reader")
	group := run.New(t.Context())
	group.Go("agent", func(ctx context.Context) error {
		return h.deliver(ctx, (<-sent).Open.ID, alice, legAnswer{err: busy})
	})
	if _, err := h.open(t.Context(), l.Agent.Route, api.TunnelOpen{}, refuseTicket()); !errors.Is(err, busy) {
		t.Errorf("open = %v, want the agent's %v", err, busy)
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// TestHubSilentAgent has an agent that never answers: the wait ends, and a leg that comes late is closed.
func TestHubSilentAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := make(chan api.FromBroker, 1)
		h, l := startHub(t, sent)
		start := time.Now()
		_, err := h.open(t.Context(), l.Agent.Route, api.TunnelOpen{}, refuseTicket())
		if cardbroker.ReasonOf(err) != cardbroker.Timeout || time.Since(start) != openTimeout {
			t.Errorf("open = %v after %v, want timeout after %v", err, time.Since(start), openTimeout)
		}
		if err := h.deliver(t.Context(), (<-sent).Open.ID, alice, legAnswer{leg: newTestLeg()}); err == nil {
			t.Error("a late leg was taken")
		}
	})
}

func TestHubWatch(t *testing.T) {
	h, l := startHub(t, make(chan api.FromBroker, 1))
	changed, stop, err := h.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	<-changed // the view as it is
	offers := api.Offers{Offers: []api.OfferedReader{{Tenant: "issuer", ID: "1", Name: "R"}}}
	if err := h.setOffers(l.Agent.Route, offers); err != nil {
		t.Fatal(err)
	}
	<-changed
	if view := h.View(); len(view) != 1 || len(view[0].Offers) != 1 {
		t.Errorf("view = %+v, want the offer", view)
	}
	stop()
	if err := h.Leave(l); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
		t.Error("a signal after stop")
	default:
	}
	if view := h.View(); len(view) != 0 {
		t.Errorf("view = %+v after the link's end, want none", view)
	}
}

func TestHubKeepsTheLastRefusals(t *testing.T) {
	h, _ := startHub(t, nil)
	client := func(n int) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(n)) }
	server := client(1)
	for n := range keptRefusals + 10 {
		h.refused(refusal{client: client(1000 + n), server: server})
	}
	var kept []bool
	err := h.Do(t.Context(), func(*coordinator.Links) error {
		for _, n := range []int{0, 9, 10, keptRefusals + 9} {
			kept = append(kept, h.lastRefusal(client(1000+n), server) != nil)
		}
		return nil
	})
	if want := []bool{false, false, true, true}; err != nil || !slices.Equal(kept, want) {
		t.Errorf("kept = %v, %v, want %v", kept, err, want)
	}
}
