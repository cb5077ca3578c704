// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election_test

import (
	"slices"
	"testing"
	"time"
)

// settle lets the voters find each other, and all agents their leader, and fails if more have taken office than there were
// terms, or if an agent is without a link.
func (h *host) settle(terms int) {
	h.t.Helper()
	h.pass(2 * time.Second)
	h.mu.Lock()
	defer h.mu.Unlock()
	live := 0
	for _, a := range h.agents {
		if !a.dead {
			live++
		}
	}
	if len(h.terms) != terms || len(h.links) != live {
		h.t.Fatalf("%d terms and %d links, want %d and %d", len(h.terms), len(h.links), terms, live)
	}
}

// TestKilledLeaders kills eight leaders of twelve agents, one after the other: each time the oldest takes office, and at once.
func TestKilledLeaders(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		agents := h.starts(12)
		leader, took := h.elected()
		if took > 30*time.Millisecond {
			t.Errorf("the first leader took %v, want 30ms at most", took)
		}
		for i := range 8 {
			h.settle(i + 1)
			agents = slices.DeleteFunc(agents, func(a *agent) bool { return a == leader })
			leader.kill()
			leader, took = h.elected()
			if leader != agents[0] || took > 0 {
				t.Errorf("%s took office after %v, want %s at once", leader.self.Name, took, agents[0].self.Name)
			}
		}
		h.settle(9)
	})
}

// TestRankOrdersCandidates kills the leader together with those who come next: each costs 15 ms.
func TestRankOrdersCandidates(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		agents := h.starts(12)
		leader, _ := h.elected()
		h.settle(1)
		agents = slices.DeleteFunc(agents, func(a *agent) bool { return a == leader })
		for _, a := range agents[:3] {
			a.kill()
		}
		leader.kill()
		leader, took := h.elected()
		if leader != agents[3] || took != 45*time.Millisecond {
			t.Errorf("%s took office after %v, want %s after 45ms", leader.self.Name, took, agents[3].self.Name)
		}
		h.settle(2)
	})
}

// TestAllLeaveButOneWatcher kills all voters: a watcher takes office, later.
func TestAllLeaveButOneWatcher(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		agents := h.starts(10)
		leader, _ := h.elected()
		h.settle(1)
		for _, a := range agents[:7] {
			a.kill()
		}
		leader.kill()
		leader, took := h.elected()
		if !slices.Contains(agents[7:], leader) || took < 300*time.Millisecond || took > 450*time.Millisecond {
			t.Errorf("%s took office after %v, want a watcher after 300 to 450 ms", leader.self.Name, took)
		}
		h.settle(2)
	})
}

// TestAllStartAtOnce starts sixty agents on a host without a registry: one takes office, and within 200 ms all have found it.
func TestAllStartAtOnce(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.starts(60)
		if _, took := h.elected(); took > 30*time.Millisecond {
			t.Errorf("the first leader took %v, want 30ms at most", took)
		}
		h.pass(200 * time.Millisecond)
		h.mu.Lock()
		if len(h.links) != 60 || len(h.terms) != 1 {
			t.Errorf("%d links and %d terms, want 60 and 1", len(h.links), len(h.terms))
		}
		h.mu.Unlock()
		h.settle(1)
	})
}

// TestGossipIsCut has each agent alone in its part of the network: each thinks that it is next, and one is.
func TestGossipIsCut(t *testing.T) {
	for name, cutFirst := range map[string]bool{"before the first": true, "after voters have met": false} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				agents := h.starts(9)
				leader, _ := h.elected()
				if !cutFirst {
					h.settle(1)
				}
				for _, a := range agents {
					h.net.cut(a.self.Name)
				}
				h.pass(10 * time.Second)
				for i := range 4 {
					h.settle(i + 1)
					leader.kill()
					var took time.Duration
					if leader, took = h.elected(); took > 500*time.Millisecond {
						t.Errorf("took %v, want 500ms at most", took)
					}
				}
				h.settle(5)
			})
		})
	}
}

// TestLeaderDiesWhileOthersSeek kills each leader at the moment at which it has taken office, while its followers come.
func TestLeaderDiesWhileOthersSeek(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.starts(15)
		leader, _ := h.elected()
		h.settle(1)
		for range 10 {
			leader.kill()
			var took time.Duration
			if leader, took = h.elected(); took > 600*time.Millisecond {
				t.Errorf("took %v, want 600ms at most", took)
			}
			h.pass(3 * time.Millisecond)
		}
		h.settle(11)
	})
}

// TestWatchersIdle has a host stand for an hour: no leader ends, and who only watches does nothing at all.
func TestWatchersIdle(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("alone", 1)
		h.start(a)
		h.elected()
		h.pass(time.Hour)
		h.settle(1)
		h.mu.Lock()
		defer h.mu.Unlock()
		if a.linked != 1 {
			t.Errorf("linked %d times, want once", a.linked)
		}
	})
}
