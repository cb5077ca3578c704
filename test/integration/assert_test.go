// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/test/stage"
)

// assert opens a link as p and asserts a port that p has bound, or not.
func (h *host) assert(p *stage.Person, claim api.Claim, port cardbroker.Port, ipv6 bool) api.FromBroker {
	h.t.Helper()
	conn, err := h.upgrade(p, api.LinkProtocol, "/local/v1/link")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	if err := conn.WriteJSON(api.FromAgent{Register: &api.Register{Claim: claim, Port: port, IPv6: ipv6}}); err != nil {
		h.t.Fatal(err)
	}
	answer, err := hear(conn)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer
}

// bound has p listen on a port of the range.
func (h *host) bound(p *stage.Person) (listeners []net.Listener, port cardbroker.Port) {
	h.t.Helper()
	ports, err := cardbroker.ParsePorts(cardbroker.DefaultPorts)
	if err != nil {
		h.t.Fatal(err)
	}
	for len(listeners) == 0 {
		port = ports[rand.N(len(ports))]
		h.as(p, func() { listeners, err = httpserver.ListenLoopback(h.Context(), port) })
		if err != nil && cardbroker.ReasonOf(err) != cardbroker.Conflict {
			h.t.Fatal(err)
		}
	}
	h.t.Cleanup(func() {
		for _, l := range listeners {
			l.Close()
		}
	})
	return listeners, port
}

// TestAssertions: agents that were there before the service keep their ports, and nobody gets another's.
func TestAssertions(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	claim := newClaim("1")
	listeners, port := h.bound(alice)
	ipv6 := len(listeners) == 2
	for name, attack := range map[string]struct {
		who   *stage.Person
		claim api.Claim
		port  cardbroker.Port
		want  cardbroker.Rule
	}{
		"her port":                    {bob, claim, port, cardbroker.RuleListenerForeign},
		"the broker's port":           {bob, claim, cardbroker.Port(netip.MustParseAddrPort(h.ready.Listen[0]).Port()), cardbroker.RuleListenerForeign},
		"a port that nobody has":      {bob, claim, 1, cardbroker.RuleListenerMissing},
		"no port, and no reservation": {bob, claim, 0, cardbroker.RuleClaim},
	} {
		if said := h.assert(attack.who, attack.claim, attack.port, ipv6); said.Failed == nil || said.Failed.Rule != attack.want {
			t.Errorf("%s: %+v, want rule %s", name, said, attack.want)
		}
	}
	said := h.assert(alice, claim, port, ipv6)
	if said.Registered == nil || said.Registered.Port != port || said.Registered.Mode != api.ModeService {
		t.Fatalf("alice asserts her port: %+v", said)
	}
	if said := h.assert(alice, newClaim("2"), port, ipv6); said.Failed == nil || said.Failed.Rule != cardbroker.RulePortTaken {
		t.Errorf("her other session asserts it, too: %+v", said)
	}
	if own := h.local(bob, "GET", "/local/v1/agents", nil); own.Status != 200 || len(h.sessions()) != 1 {
		t.Errorf("%d agents, want alice's", len(h.sessions()))
	}
}

// TestAssertionsWhereTheBrokerListens: it holds the agents' ports, so nobody can have bound one.
func TestAssertionsWhereTheBrokerListens(t *testing.T) {
	h, alice, _ := newTLS(t, "")
	listeners, port := h.bound(alice)
	if said := h.assert(alice, newClaim("1"), port, len(listeners) == 2); said.Failed == nil || said.Failed.Rule != cardbroker.RuleClaim {
		t.Errorf("an assertion: %+v, want rule claim", said)
	}
}
