// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/internal/run"
)

// testForward is an agent's leg that only knows whether it was closed.
type testForward struct {
	net.Conn
	closed bool
}

func (l *testForward) CloseWrite() error { return nil }
func (l *testForward) Close() error      { l.closed = true; return nil }

// TestHubForwards gives a connection's leg to who waits for it, once, and from the agent's user alone.
func TestHubForwards(t *testing.T) {
	sent := make(chan api.FromBroker, 1)
	h, l := startHub(t, sent)
	brought := &testForward{}
	group := run.New(t.Context())
	group.Go("agent", func(ctx context.Context) error {
		id := (<-sent).Forward.ID
		if err := h.claimForward(ctx, id, bob); cardbroker.RuleOf(err) != cardbroker.RuleForward {
			t.Errorf("claimForward(bob) = %v, want a refusal: the connection is alice's", err)
		}
		if err := h.claimForward(ctx, id, alice); err != nil {
			t.Errorf("claimForward(alice) = %v", err)
		}
		if err := h.claimForward(ctx, id, alice); cardbroker.RuleOf(err) != cardbroker.RuleForward {
			t.Errorf("claimForward(alice) again = %v, want a refusal: her leg is coming", err)
		}
		if err := h.deliverForward(ctx, id, bob, &testForward{}); err == nil {
			t.Error("deliverForward(bob) succeeded")
		}
		if err := h.deliverForward(ctx, id, alice, brought); err != nil {
			t.Errorf("deliverForward(alice) = %v", err)
		}
		if err := h.deliverForward(ctx, id, alice, &testForward{}); err == nil {
			t.Error("a second leg was taken")
		}
		return nil
	})
	got, err := h.forward(t.Context(), l.Agent.Route, api.Forward{ID: "1"})
	if err != nil || got != brought {
		t.Errorf("forward = %v, %v, want the leg that was brought", got, err)
	}
	group.Wait()
}

// TestHubForwardsToNobody waits for an agent that is not there, that goes, and that does not answer: each time unavailable, and
// nothing is left waiting.
func TestHubForwardsToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := make(chan api.FromBroker, 1)
		h, group := newBoard(t)
		defer group.Stop()
		agent := cardbroker.Agent{Key: cardbroker.AgentKey{User: alice, Session: "1"}, Route: "0123456789abcdef"}
		var joined *coordinator.Link
		join := func() {
			joined = &coordinator.Link{View: coordinator.View{Agent: agent}, Send: func(m api.FromBroker) error { sent <- m; return nil }}
			err := h.Join(t.Context(), joined)
			if err != nil {
				t.Fatal(err)
			}
		}
		want := func(what string, err error) {
			t.Helper()
			if cardbroker.ReasonOf(err) != cardbroker.Unavailable || len(h.forwards) != 0 {
				t.Errorf("%s: %v, %d wait, want unavailable and none", what, err, len(h.forwards))
			}
		}
		_, err := h.forward(t.Context(), agent.Route, api.Forward{ID: "1"})
		want("no link", err)
		join()
		gone := run.New(t.Context())
		gone.Go("leaves", func(context.Context) error { <-sent; return h.Leave(joined) })
		_, err = h.forward(t.Context(), agent.Route, api.Forward{ID: "2"})
		want("an agent that goes", err)
		gone.Wait()
		join()
		start := time.Now()
		_, err = h.forward(t.Context(), agent.Route, api.Forward{ID: "3"})
		want("an agent that does not answer", err)
		if waited := time.Since(start); waited != openTimeout {
			t.Errorf("waited %v, want %v", waited, openTimeout)
		}
		late := &testForward{}
		if err := h.deliverForward(t.Context(), "3", alice, late); cardbroker.RuleOf(err) != cardbroker.RuleForward {
			t.Errorf("a late leg: %v, want a refusal", err)
		}
	})
}
