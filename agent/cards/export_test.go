// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards

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
