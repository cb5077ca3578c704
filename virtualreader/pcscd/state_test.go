// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import "testing"

// Event counters have 16 bits, and 0 is none: libpcsclite does not compare with it.
func TestNext16(t *testing.T) {
	for n, want := range map[uint32]uint32{1: 2, 0xFFFE: 0xFFFF, 0xFFFF: 1} {
		if got := next16(n); got != want {
			t.Errorf("next16(%#x) = %#x, want %#x", n, got, want)
		}
	}
}

// A client may wait twice, which none does that means well: it gets one event, and the server lives.
func TestWaitTwice(t *testing.T) {
	c := newClient(nil, nil)
	st := newState(nil)
	for range 3 {
		st.startWaiting(c, true)
		st.startWaiting(c, true)
		st.notable = true
		if woken := st.publish(); len(woken) > 1 || len(c.event) != 1 {
			t.Errorf("%d clients are woken, with %d events, want one event", len(woken), len(c.event))
		}
	}
}
