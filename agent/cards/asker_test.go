// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards_test

import (
	"context"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
)

// TestTransmitAllocatesNothing asks as a tunnel does: many times, with a context that may end.
func TestTransmitAllocatesNothing(t *testing.T) {
	s, stop := startSandbox(t, cards.Config{})
	defer stop()
	c := openCard(t, s, "fake 0")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd, buf := command(insEcho, 0), make([]byte, 0, 512)
	allocs := testing.AllocsPerRun(100, func() {
		if _, _, err := c.Transmit(ctx, buf, cmd); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("a command costs %v allocations, want 0", allocs)
	}
}

// TestFormerAskerLeaves has the context of an earlier call end: it is no business of the later ones.
func TestFormerAskerLeaves(t *testing.T) {
	s, stop := startSandbox(t, cards.Config{})
	defer stop()
	c := openCard(t, s, "fake 0")
	cmd := command(insEcho, 0)
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		if _, _, err := c.Transmit(ctx, nil, cmd); err != nil {
			t.Fatal(err)
		}
		go cancel() // while the next one asks
		if _, _, err := c.Transmit(context.Background(), nil, cmd); err != nil {
			t.Fatalf("Transmit() = %v after another asker has left", err)
		}
		if _, _, err := c.Transmit(ctx, nil, cmd); err != nil && cardbroker.ReasonOf(err) != cardbroker.Canceled {
			t.Fatalf("Transmit() = %v by who leaves, want canceled", err)
		}
		for { // an answer that nobody waits for may still be on its way
			_, _, err := c.Transmit(t.Context(), nil, cmd)
			if err == nil {
				break
			}
			if cardbroker.ReasonOf(err) != cardbroker.ReaderBusy {
				t.Fatal(err)
			}
		}
	}
}
