// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards

import (
	"time"

	"github.com/cardbroker/cardbroker"
)

// LimitCalls changes how long calls may take from now on. Nothing may be under way.
func (s *Sandbox) LimitCalls(limit time.Duration) { s.cfg.CallLimit = limit }

// Turns returns how many local programs have a turn at the reader or wait for one.
func (s *Sandbox) Turns(reader string) (n int) {
	s.tell(func(st *state) {
		for _, r := range st.readers {
			if r.Name == reader {
				n = st.process.links[r.stream].turns
			}
		}
	})
	return n
}

// Waits says whether a back end has the reader, or waits for it.
func (s *Sandbox) Waits(reader string) (is bool) {
	s.tell(func(st *state) {
		for _, r := range st.readers {
			is = is || r.Name == reader && st.process.links[r.stream].claimed
		}
	})
	return is
}

// MayReach names the readers that a slot of that description may be in.
func MayReach(description string, readers []cardbroker.Reader) []string {
	return mayReach(description, readers)
}
