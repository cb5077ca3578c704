// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
)

// TestEntriesAreForgotten: however many addresses come and go, few are remembered, and nobody who has something open or
// has used his allowance is forgotten.
func TestEntriesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers(0)
		open, greedy := cardbroker.UserID{SID: "open"}, cardbroker.UserID{SID: "greedy"}
		if err := u.enter(open); err != nil {
			t.Fatal(err)
		}
		for i := range 20 * minKept {
			id := cardbroker.UserID{SID: fmt.Sprint("address:", i)}
			if u.enter(id) != nil || u.allow(id) != nil {
				t.Fatalf("address %d is refused", i)
			}
			u.leave(id)
			for i%100 == 0 && u.allow(greedy) == nil {
			}
			time.Sleep(time.Millisecond)
		}
		if n := len(u.byID); n > 2*minKept {
			t.Errorf("%d entries after %d addresses, want %d at most", n, 20*minKept, 2*minKept)
		}
		if u.byID[open] == nil || u.byID[open].conns != 1 {
			t.Error("who has a connection open is forgotten")
		}
		if u.byID[greedy] == nil {
			t.Error("who has used his allowance is forgotten")
		}
	})
}
