// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestVotersFindEachOther has the seven oldest gossip, but for the leader, and nobody else.
func TestVotersFindEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		agents := h.starts(10)
		leader, _ := h.elected()
		time.Sleep(2 * time.Second)
		for i, a := range agents {
			lives, want := a.Lives(), 7
			if agents[i] == leader || i >= 7 {
				want = 0
			} else if i := leader.self.Born - 1000; i < 7 {
				want = 6
			}
			if len(lives) != want {
				t.Errorf("%s knows %d voters, want %d: %v", a.self.Name, len(lives), want, lives)
			}
		}
	})
}
