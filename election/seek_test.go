// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestKilledLeader kills ten leaders of twenty agents, one after the other.
func TestKilledLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.starts(20)
		for i := range 10 {
			leader, took := h.elected()
			t.Logf("%s leads after %v", leader.self.Name, took)
			time.Sleep(10 * time.Second)
			h.mu.Lock()
			if len(h.terms) != i+1 || len(h.links) != 20-i {
				t.Errorf("%d terms and %d links, want %d and %d", len(h.terms), len(h.links), i+1, 20-i)
			}
			h.mu.Unlock()
			leader.kill()
		}
	})
}
