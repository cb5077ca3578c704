// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remoteloading_test

import (
	"testing"
)

// TestTurnsGoRound: a page that opens one session after the other, as fast as it can, keeps nobody from the reader who waits for it: another page, a
// program, a second session of its own.
func TestTurnsGoRound(t *testing.T) {
	b := newBed(t, nil)
	session := b.open(shop, plain)
	for _, other := range []string{forum, "", shop} {
		said := make(chan string, 1)
		turns := b.turns.Load()
		go func() { said <- b.post(other, plain, "command", `{"command":"00120000"}`) }()
		b.until(func() bool { return b.turns.Load() > turns || len(said) > 0 }) // it is about to wait
		for served, again := false, 0; !served; again++ {
			select {
			case got := <-said:
				want(t, "who has waited", got, `{"sw":"9000","tx":"00120000","rx":"01"}`)
				served = true
			default:
				if again > 2 {
					t.Fatalf("%q waits while another has opened %d sessions", other, again)
				}
			}
			b.post(shop, plain, "close-session", "{"+session+"}")
			session = b.open(shop, plain)
		}
	}
}
