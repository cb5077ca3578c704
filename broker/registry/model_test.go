// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/registry"
)

// TestRegistryAgainstModel does random things to a Registry on a real store, in fake time, and to a model of it. The
// model says what each must answer, but for the port: there it says which would be wrong.
func TestRegistryAgainstModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ *testing.T }{t}, func(rt *rapid.T) { // not t itself: rapid would ask it for real deadlines
			h := newTestHost(t, "30000-30005")
			defer h.stop()
			m := &model{h: h, agents: make(map[cardbroker.AgentKey]*modelAgent), resting: make(map[cardbroker.Port]rest)}
			rt.Repeat(map[string]func(*rapid.T){
				"reserve":  m.reserve,
				"renew":    m.renew,
				"register": m.register,
				"assert":   m.assert,
				"detach":   m.detach,
				"release":  m.release,
				"wait":     m.wait,
				"restart":  m.restart,
				"":         m.compare,
			})
		})
	})
}

type model struct {
	h          *testHost
	agents     map[cardbroker.AgentKey]*modelAgent
	resting    map[cardbroker.Port]rest
	agentsEver []cardbroker.Agent // as Register returned them
}

type modelAgent struct {
	port     cardbroker.Port
	state    cardbroker.State
	claim    [32]byte
	agent    cardbroker.Agent // as Register returned it; zero: it has not
	deadline time.Time
}

type rest struct {
	key   cardbroker.AgentKey
	until time.Time
}

// anyClaim is one of two claims of one of seven sessions of two users: more than there are ports.
func (m *model) anyClaim(rt *rapid.T) registry.Claim {
	n := rapid.IntRange(0, 6).Draw(rt, "session")
	claim := rapid.ByteRange(1, 2).Draw(rt, "claim")
	return registry.Claim{
		Key:  cardbroker.AgentKey{User: cardbroker.UserID{UID: uint32(1000 + n%2)}, Session: cardbroker.SessionID(fmt.Sprint(n))},
		Hash: [32]byte{claim},
	}
}

func (m *model) reserve(rt *rapid.T) {
	c := m.anyClaim(rt)
	a := m.agents[c.Key]
	avoid := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) cardbroker.Port {
		return cardbroker.Port(rapid.IntRange(30000, 30005).Draw(rt, "port"))
	}), 0, 3).Draw(rt, "avoid")
	keeps := a != nil && !slices.Contains(avoid, a.port)
	var allowed []cardbroker.Port
	for port := cardbroker.Port(30000); port <= 30005; port++ {
		r, rests := m.resting[port]
		if !m.taken(port) && !(rests && r.key != c.Key) && !slices.Contains(avoid, port) {
			allowed = append(allowed, port)
		}
	}
	var want cardbroker.Reason
	switch {
	case a != nil && a.state == cardbroker.Registered:
		want = cardbroker.Conflict
	case keeps:
		allowed = []cardbroker.Port{a.port}
	case len(allowed) == 0:
		want = cardbroker.PortsExhausted
	}
	r, err := m.h.Reserve(m.h.t.Context(), c, avoid)
	m.expect(rt, "Reserve", err, want)
	if want != "" {
		return
	}
	if !slices.Contains(allowed, r.Port) {
		rt.Fatalf("Reserve(%v, %d) = %d, want one of %d", c.Key, avoid, r.Port, allowed)
	}
	if a != nil && !keeps {
		m.drop(c.Key, time.Now())
	}
	delete(m.resting, r.Port)
	m.agents[c.Key] = &modelAgent{port: r.Port, state: cardbroker.Reserved, claim: c.Hash, deadline: time.Now().Add(120 * time.Second)}
}

func (m *model) renew(rt *rapid.T) {
	c := m.anyClaim(rt)
	a, want := m.claimed(c)
	if want == "" && a.state != cardbroker.Reserved {
		want = cardbroker.Conflict
	}
	_, err := m.h.Renew(m.h.t.Context(), c)
	m.expect(rt, "Renew", err, want)
	if want == "" {
		a.deadline = time.Now().Add(120 * time.Second)
	}
}

func (m *model) register(rt *rapid.T) {
	c := m.anyClaim(rt)
	a, want := m.claimed(c)
	if want == "" && a.state == cardbroker.Registered {
		want = cardbroker.Conflict
	}
	agent, err := m.h.Register(m.h.t.Context(), c)
	m.expect(rt, "Register", err, want)
	if want == "" {
		a.state, a.agent, a.deadline = cardbroker.Registered, agent, time.Time{}
		m.agentsEver = append(m.agentsEver, agent)
	}
}

func (m *model) assert(rt *rapid.T) {
	c := m.anyClaim(rt)
	port := cardbroker.Port(rapid.IntRange(29999, 30006).Draw(rt, "port"))
	a := m.agents[c.Key]
	var other *modelAgent
	for key, b := range m.agents {
		if b.port == port && key != c.Key {
			other = b
		}
	}
	var want cardbroker.Reason
	switch {
	case port < 30000 || port > 30005,
		a != nil && a.state == cardbroker.Registered,
		other != nil && other.state != cardbroker.Stale:
		want = cardbroker.Conflict
	}
	agent, err := m.h.Assert(m.h.t.Context(), c, port)
	m.expect(rt, "Assert", err, want)
	if want != "" {
		return
	}
	if a != nil && a.port != port {
		m.drop(c.Key, time.Now())
	}
	maps.DeleteFunc(m.agents, func(_ cardbroker.AgentKey, b *modelAgent) bool { return b == other })
	delete(m.resting, port)
	m.agents[c.Key] = &modelAgent{port: port, state: cardbroker.Registered, claim: c.Hash, agent: agent}
	m.agentsEver = append(m.agentsEver, agent)
}

func (m *model) detach(rt *rapid.T) {
	if len(m.agentsEver) == 0 {
		rt.Skip("nothing was ever registered")
	}
	agent := rapid.SampledFrom(m.agentsEver).Draw(rt, "agent")
	m.expect(rt, "Detach", m.h.Detach(m.h.t.Context(), agent), "")
	for _, a := range m.agents {
		if a.state == cardbroker.Registered && a.agent == agent {
			a.state, a.deadline = cardbroker.Stale, time.Now().Add(30*time.Second)
		}
	}
}

func (m *model) release(rt *rapid.T) {
	c := m.anyClaim(rt)
	a, want := m.claimed(c)
	if a == nil {
		want = ""
	}
	m.expect(rt, "Release", m.h.Release(m.h.t.Context(), c), want)
	if a != nil && want == "" {
		m.drop(c.Key, time.Now())
	}
}

func (m *model) wait(rt *rapid.T) {
	time.Sleep(time.Duration(rapid.IntRange(1, 70).Draw(rt, "seconds")) * time.Second)
	synctest.Wait()
	for key, a := range m.agents {
		if !a.deadline.IsZero() && !time.Now().Before(a.deadline) {
			m.drop(key, a.deadline)
		}
	}
	maps.DeleteFunc(m.resting, func(_ cardbroker.Port, r rest) bool { return !time.Now().Before(r.until) })
}

func (m *model) restart(*rapid.T) {
	m.h.restart()
	clear(m.resting)
	for _, a := range m.agents {
		a.deadline = time.Now().Add(120 * time.Second)
		if a.state != cardbroker.Reserved {
			a.state, a.deadline = cardbroker.Stale, time.Now().Add(30*time.Second)
		}
	}
}

// compare holds the View against the model.
func (m *model) compare(rt *rapid.T) {
	if err := registry.CheckInvariants(m.h.t.Context(), m.h.Registry); err != nil {
		rt.Fatal(err)
	}
	v := m.h.View()
	if len(v.Agents()) != len(m.agents) {
		rt.Fatalf("%d agents, want %d: %+v", len(v.Agents()), len(m.agents), v.Agents())
	}
	for key, want := range m.agents {
		got, ok := v.ByKey(key)
		if !ok || got.Port != want.port || got.State != want.state || got.Route != want.agent.Route {
			rt.Fatalf("ByKey(%v) = %+v, want %+v", key, got, want)
		}
		if byPort, _ := v.ByPort(want.port); byPort != got {
			rt.Fatalf("ByPort(%d) = %+v, want %+v", want.port, byPort, got)
		}
	}
}

func (m *model) expect(rt *rapid.T, what string, err error, want cardbroker.Reason) {
	if cardbroker.ReasonOf(err) != want {
		rt.Fatalf("%s() = %v, want %q", what, err, want)
	}
}

func (m *model) claimed(c registry.Claim) (*modelAgent, cardbroker.Reason) {
	a := m.agents[c.Key]
	if a == nil || a.claim != c.Hash {
		return a, cardbroker.Unauthenticated
	}
	return a, ""
}

func (m *model) taken(port cardbroker.Port) bool {
	for _, a := range m.agents {
		if a.port == port {
			return true
		}
	}
	return false
}

func (m *model) drop(key cardbroker.AgentKey, at time.Time) {
	if a := m.agents[key]; a != nil {
		m.resting[a.port] = rest{key, at.Add(60 * time.Second)}
		delete(m.agents, key)
	}
}
