// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/registry"
)

func TestLifeOfAnAgent(t *testing.T) {
	h := newTestHost(t, "")
	alice := h.logon(1000, "3")
	port := alice.reserve()
	h.wantState(alice, cardbroker.Reserved)

	first := alice.register()
	if first.Port != port || first.State != cardbroker.Registered || first.Route == "" || first.PID != alice.PID {
		t.Errorf("Register() = %+v, want port %d REGISTERED with a route and pid %d", first, port, alice.PID)
	}
	if found, ok := h.View().ByRoute(first.Route); !ok || found != first {
		t.Errorf("ByRoute(%s) = %+v, want %+v", first.Route, found, first)
	}

	alice.detach(first)
	h.wantState(alice, cardbroker.Stale)
	second := alice.register()
	if second.Port != port || second.Route != first.Route {
		t.Errorf("Register() after Detach = %+v, want port %d and route %s as before", second, port, first.Route)
	}

	alice.release()
	h.wantState(alice, "")
	if _, ok := h.View().ByPort(port); ok {
		t.Errorf("ByPort(%d) finds a released port", port)
	}
	alice.release() // nothing left to do
	if again := alice.reserve(); again != port {
		t.Errorf("Reserve() after Release = %d, want %d: the quarantine is for others", again, port)
	}
	third := alice.register()
	if found, ok := h.View().ByRoute(first.Route); !ok || found != third {
		t.Errorf("ByRoute(%s) = %+v, want the session's next agent, %+v", first.Route, found, third)
	}
	alice.detach(first) // comes late: it must not end the new registration
	h.wantState(alice, cardbroker.Registered)
}

func TestReserveAgain(t *testing.T) {
	for _, c := range []struct {
		name     string
		register bool
		detach   bool
		other    bool // another process of the user asks, with a claim of its own
		want     cardbroker.Reason
	}{
		{name: "reserved, same claim"},
		{name: "reserved, another claim", other: true},
		{name: "registered, same claim", register: true, want: cardbroker.Conflict},
		{name: "registered, another claim", register: true, other: true, want: cardbroker.Conflict},
		{name: "stale, same claim", register: true, detach: true},
		{name: "stale, another claim", register: true, detach: true, other: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newTestHost(t, "")
			agent := h.logon(1000, "3")
			port := agent.reserve()
			if c.register {
				registered := agent.register()
				if c.detach {
					agent.detach(registered)
				}
			}
			next := agent
			if c.other {
				next = h.logon(1000, "3")
			}
			r, err := h.Reserve(t.Context(), next.Claim, nil)
			wantRefusal(t, "Reserve()", err, c.want, "")
			if c.want != "" {
				h.wantState(agent, cardbroker.Registered)
				return
			}
			if r.Port != port {
				t.Errorf("Reserve() = %d, want %d again", r.Port, port)
			}
			h.wantState(agent, cardbroker.Reserved)
			if c.other {
				_, err := h.Register(t.Context(), agent.Claim)
				wantRefusal(t, "Register() with the claim that was replaced", err, cardbroker.Unauthenticated, cardbroker.RuleClaim)
			}
			next.register()
		})
	}
}

func TestClaimsDoNotTell(t *testing.T) {
	h := newTestHost(t, "")
	alice, thief, nobody := h.logon(1000, "3"), h.logon(1000, "3"), h.logon(1000, "4")
	alice.reserve()
	calls := map[string]func(registry.Claim) error{
		"Register": func(c registry.Claim) error { _, err := h.Register(t.Context(), c); return err },
		"Renew":    func(c registry.Claim) error { _, err := h.Renew(t.Context(), c); return err },
	}
	for name, call := range calls {
		wrong, unknown := call(thief.Claim), call(nobody.Claim)
		wantRefusal(t, name, wrong, cardbroker.Unauthenticated, cardbroker.RuleClaim)
		if wrong.Error() != unknown.Error() {
			t.Errorf("%s: %q for a wrong claim, %q for an unknown agent, want no difference", name, wrong, unknown)
		}
	}
	wantRefusal(t, "Release", h.Release(t.Context(), thief.Claim), cardbroker.Unauthenticated, cardbroker.RuleClaim)
	h.wantState(alice, cardbroker.Reserved)
	empty := registry.Claim{Key: nobody.Key}
	_, err := h.Register(t.Context(), empty)
	wantRefusal(t, "Register without a claim", err, cardbroker.Unauthenticated, cardbroker.RuleClaim)
}

func TestOnlyAReservationIsRenewed(t *testing.T) {
	h := newTestHost(t, "")
	alice := h.logon(1000, "3")
	port := alice.reserve()
	if r, err := h.Renew(t.Context(), alice.Claim); err != nil || r.Port != port {
		t.Errorf("Renew() = %d, %v, want %d", r.Port, err, port)
	}
	registered := alice.register()
	for range 2 { // REGISTERED, STALE
		_, err := h.Renew(t.Context(), alice.Claim)
		wantRefusal(t, "Renew()", err, cardbroker.Conflict, "")
		alice.detach(registered)
	}
}

func TestRegisteredTwice(t *testing.T) {
	h := newTestHost(t, "")
	alice := h.logon(1000, "3")
	alice.reserve()
	first := alice.register()
	_, err := h.Register(t.Context(), alice.Claim)
	wantRefusal(t, "Register()", err, cardbroker.Conflict, "")
	if found, ok := h.View().ByRoute(first.Route); !ok || found.State != cardbroker.Registered {
		t.Errorf("ByRoute(%s) = %+v, want the first registration", first.Route, found)
	}
}

func TestTwoUsersTwoSessions(t *testing.T) {
	h := newTestHost(t, "")
	seen := make(map[cardbroker.Port]bool)
	for _, uid := range []uint32{1001, 1000} {
		for _, session := range []cardbroker.SessionID{"4", "3"} {
			seen[h.logon(uid, session).reserve()] = true
		}
	}
	if len(seen) != 4 {
		t.Errorf("4 agents have ports %v, want 4 different ones", seen)
	}
	v := h.View()
	for _, uid := range []uint32{1000, 1001} {
		got := ""
		for _, a := range v.ByUser(cardbroker.UserID{UID: uid}) {
			got += fmt.Sprintf("%s/%s ", a.Key.User, a.Key.Session)
		}
		if want := fmt.Sprintf("%d/3 %d/4 ", uid, uid); got != want {
			t.Errorf("ByUser(%d) = %s, want %s", uid, got, want)
		}
	}
	for _, uid := range []uint32{0, 999, 1002} {
		if got := v.ByUser(cardbroker.UserID{UID: uid}); len(got) != 0 {
			t.Errorf("ByUser(%d) = %v, want none", uid, got)
		}
	}
	if got := v.ByUser(cardbroker.UserID{SID: "S-1-5-21-1000"}); len(got) != 0 {
		t.Errorf("ByUser of a SID = %v, want none", got)
	}
	if got := len(v.Agents()); got != 4 {
		t.Errorf("Agents() has %d, want 4", got)
	}
}

func TestPortOfAUserIsStable(t *testing.T) {
	h := newTestHost(t, "")
	alice := h.logon(1000, "3")
	want := alice.reserve()
	alice.release()
	h.restart() // forgets the quarantine, keeps the salt
	if got := h.logon(1000, "3").reserve(); got != want {
		t.Errorf("Reserve() = %d, want %d as before", got, want)
	}
	other := newTestHost(t, "")
	if got := other.logon(1000, "3").reserve(); got == want {
		t.Errorf("Reserve() = %d on a host with another salt, want another port", got)
	}
}

func TestAvoid(t *testing.T) {
	h := newTestHost(t, "30000-30002")
	alice, bob := h.logon(1000, "3"), h.logon(1001, "5")
	first := alice.reserve()
	second := alice.reserve(first)
	third := alice.reserve(first, second)
	if first == second || second == third || third == first {
		t.Fatalf("ports %d, %d, %d, want different ones", first, second, third)
	}
	if a, ok := h.View().ByKey(alice.Key); !ok || a.Port != third || len(h.View().Agents()) != 1 {
		t.Errorf("agents = %+v, want one with port %d", h.View().Agents(), third)
	}
	_, err := h.Reserve(t.Context(), alice.Claim, []cardbroker.Port{first, second, third})
	wantRefusal(t, "Reserve() that avoids all", err, cardbroker.PortsExhausted, "")
	if a, _ := h.View().ByKey(alice.Key); a.Port != third {
		t.Errorf("a refused swap left port %d, want %d", a.Port, third)
	}
	_, err = h.Reserve(t.Context(), bob.Claim, nil) // what alice could not bind is in quarantine
	wantRefusal(t, "Reserve()", err, cardbroker.PortsExhausted, "")
	_, err = h.Reserve(t.Context(), alice.Claim, make([]cardbroker.Port, 65))
	wantRefusal(t, "Reserve() that avoids 65", err, cardbroker.Invalid, "")
	h.check()
}

func TestQuota(t *testing.T) {
	h := newTestHost(t, "")
	for i := range 16 {
		h.logon(1000, cardbroker.SessionID(fmt.Sprint(i))).reserve()
	}
	_, err := h.Reserve(t.Context(), h.logon(1000, "17th").Claim, nil)
	wantRefusal(t, "Reserve() of a 17th", err, cardbroker.RateLimited, cardbroker.RuleQuota)
	h.logon(1001, "of another user").reserve()
	h.logon(1000, "0").reserve() // known: no new entry
	h.logon(1000, "1").reserve(cardbroker.Port(1))
}

// A user that gives up ports in a loop must not take them from the others by their quarantine.
func TestQuarantineIsBounded(t *testing.T) {
	h := newTestHost(t, "30000-30039")
	mallory := h.logon(666, "1")
	var given []cardbroker.Port
	for range 40 {
		given = append(given, mallory.reserve(given...))
	}
	for i := range 40 - 1 - 16 {
		h.logon(uint32(1000+i), "1").reserve()
	}
	_, err := h.Reserve(t.Context(), h.logon(2000, "1").Claim, nil)
	wantRefusal(t, "Reserve()", err, cardbroker.PortsExhausted, "")
}

// TestReleaseBeforeTheLinkEnds releases a port whose link still lives: its end does no harm afterwards.
func TestReleaseBeforeTheLinkEnds(t *testing.T) {
	h := newTestHost(t, "")
	alice := h.logon(1000, "3")
	alice.reserve()
	registered := alice.register()
	if err := h.Release(t.Context(), alice.Claim); err != nil {
		t.Fatalf("Release() = %v", err)
	}
	h.wantState(alice, "")
	alice.detach(registered)
	_, err := h.Register(t.Context(), alice.Claim)
	wantRefusal(t, "Register() after Release", err, cardbroker.Unauthenticated, cardbroker.RuleClaim)
}

func TestRestartKeepsEverything(t *testing.T) {
	h := newTestHost(t, "30000-30009")
	alice, bob, carol := h.logon(1000, "3"), h.logon(1001, "5"), h.logon(1002, "6")
	sid := h.logon(0, "2")
	sid.Key.User = cardbroker.UserID{SID: "S-1-5-21-1-2-3-1001"}
	ports := map[*testAgent]cardbroker.Port{alice: alice.reserve(), bob: bob.reserve(), carol: carol.reserve(), sid: sid.reserve()}
	bob.register()
	carol.detach(carol.register())
	gone := h.logon(1003, "7")
	gone.reserve()
	gone.release()
	epoch := h.View().Epoch()
	h.restart()
	h.check()

	if got := h.View().Epoch(); got != epoch+1 {
		t.Errorf("Epoch() = %d, want %d", got, epoch+1)
	}
	if got := len(h.View().Agents()); got != 4 {
		t.Errorf("%d agents, want 4: %+v", got, h.View().Agents())
	}
	h.wantState(alice, cardbroker.Reserved)
	h.wantState(bob, cardbroker.Stale)
	h.wantState(carol, cardbroker.Stale)
	for a, port := range ports {
		if found, ok := h.View().ByKey(a.Key); !ok || found.Port != port || found.PID != a.PID {
			t.Errorf("ByKey(%v) = %+v, want port %d and pid %d", a.Key, found, port, a.PID)
		}
		if again := a.register(); again.Port != port {
			t.Errorf("Register(%v) = %d, want %d", a.Key, again.Port, port)
		}
	}
}

func TestPortsOutsideTheRangeAreReleased(t *testing.T) {
	h := newTestHost(t, "30000-30009")
	agents := make(map[cardbroker.Port]*testAgent)
	for i := range 10 {
		a := h.logon(uint32(1000+i), "1")
		agents[a.reserve()] = a
	}
	h.cfg.Ports, _ = cardbroker.ParsePorts("30005-30014")
	for range 2 { // the second time nothing is left to release
		h.restart()
		h.check()
		for port, a := range agents {
			want := cardbroker.Reserved
			if port < 30005 {
				want = ""
			}
			h.wantState(a, want)
		}
	}
}

func TestNoPortsAreInvalid(t *testing.T) {
	_, err := registry.New(t.Context(), registry.Config{}, nil, quiet())
	wantRefusal(t, "New()", err, cardbroker.Invalid, "")
}

func TestEndedRegistry(t *testing.T) {
	h := newTestHost(t, "")
	alice := h.logon(1000, "3")
	alice.reserve()
	registered := alice.register()
	h.end()
	h.wg.Wait()
	_, err := h.Reserve(t.Context(), alice.Claim, nil)
	wantRefusal(t, "Reserve()", err, cardbroker.Unavailable, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantRefusal(t, "Detach()", h.Detach(ctx, registered), cardbroker.Canceled, "")
	h.wantState(alice, cardbroker.Registered) // the last View stays
}
