// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package epoch_test

import (
	"math"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/epoch"
)

// TestNow counts on, and never back.
func TestNow(t *testing.T) {
	first := epoch.Now()
	for last := first; last < first+1000; { // a millisecond
		now := epoch.Now()
		if now < last {
			t.Fatalf("after %d comes %d", last, now)
		}
		last = now
	}
}

func TestCheck(t *testing.T) {
	now := epoch.Now()
	for n, want := range map[uint64]cardbroker.Reason{
		0:              cardbroker.Invalid,
		1:              "",
		now:            "",
		now + 60e6:     cardbroker.Invalid, // a minute ahead
		math.MaxUint64: cardbroker.Invalid,
	} {
		if got := cardbroker.ReasonOf(epoch.Check(n)); got != want {
			t.Errorf("%d at %d: %q, want %q", n, now, got, want)
		}
	}
}
