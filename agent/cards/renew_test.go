// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards_test

import (
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
)

// TestRenew replaces the child: who had a card has none any more, and the next who asks gets the readers from another.
func TestRenew(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	if err := s.Renew(); err != nil { // nothing runs, and nothing is to be started for that
		t.Fatal(err)
	}
	c := openCard(t, s, "fake 0")
	before, starts := s.Epoch(), s.Status().Starts
	if starts != 1 {
		t.Fatalf("%d children were started, want 1", starts)
	}
	if err := s.Renew(); err != nil {
		t.Fatal(err)
	}
	if s.Epoch() <= before {
		t.Errorf("the card epoch is %d, it was %d", s.Epoch(), before)
	}
	var err error
	for err == nil { // the child answers until it has ended, which is soon
		_, _, err = c.Transmit(t.Context(), nil, []byte{0, 0, 0, 0})
	}
	if r := cardbroker.ReasonOf(err); r != cardbroker.CardReset && r != cardbroker.Indeterminate {
		t.Errorf("Transmit = %v, want card_reset or indeterminate", err)
	}
	readers, err := s.Readers(t.Context())
	if err != nil || len(readers) != 4 || s.Status().Starts != 2 {
		t.Errorf("Readers = %v, %v, after %d starts, want 4 readers of the second", readers, err, s.Status().Starts)
	}
	if again := openCard(t, s, "fake 0"); again.Epoch() <= before {
		t.Errorf("the card's epoch is %d, want above %d", again.Epoch(), before)
	}
}

// TestRenewKeepsWatchers has somebody watch: the new readers come to him by themselves.
func TestRenewKeepsWatchers(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	changed, stop := s.Watch()
	defer stop()
	await := func(n int) {
		t.Helper()
		for len(s.Snapshot()) != n {
			select {
			case <-changed:
			case <-t.Context().Done():
				t.Fatalf("never saw %d readers", n)
			}
		}
	}
	await(4)
	s.Renew()
	for s.Status().Starts < 2 || len(s.Snapshot()) != 4 {
		<-changed
	}
}
