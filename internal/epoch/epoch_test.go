// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package epoch_test

import (
	"math"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/epoch"
)

func TestNext(t *testing.T) {
	seen := uint64(0)
	for range 1000 { // terms that begin within one microsecond, too
		next := epoch.Next(seen)
		if next <= seen {
			t.Fatalf("after %d comes %d", seen, next)
		}
		seen = next
	}
	if now := epoch.Now(); epoch.Next(now+1000) != now+1001 {
		t.Errorf("a number that was seen is not passed")
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
