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

// TestEntriesAreForgotten: however many addresses and origins come and go, few are remembered, and nobody who has something
// open or has used his allowance is forgotten.
func TestEntriesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers(0, 0, 0, nil)
		enter := func(name string) *place {
			p, err := u.enter(cardbroker.UserID{SID: name})
			if err != nil {
				t.Fatalf("%s is refused: %v", name, err)
			}
			return p
		}
		open, greedy := enter("open"), enter("greedy")
		for i := range 10 * minKept {
			p := enter(fmt.Sprint("address:", i))
			if err := u.allow(p, ""); err != nil {
				t.Fatal(err)
			}
			u.leave(p)
			u.leave(p) // counts once
			page := fmt.Sprint("https://", i, ".example")
			if err := u.allow(open, page); i%40 == 0 && err != nil {
				t.Fatalf("%s is refused: %v", page, err)
			}
			for i%100 == 0 && u.allow(greedy, "") == nil {
			}
			time.Sleep(time.Millisecond)
		}
		if n := len(u.byShare); n > 2*minKept {
			t.Errorf("%d entries after %d addresses and origins, want %d at most", n, 20*minKept, 2*minKept)
		}
		for _, of := range []string{"", pages, open.page} {
			if entry := u.byShare[share{user: open.user, of: of}]; entry == nil || entry.conns != 1 {
				t.Errorf("who has a connection open is forgotten: %q of him is %+v", of, entry)
			}
		}
		if u.byShare[share{user: greedy.user}] == nil {
			t.Error("who has used his allowance is forgotten")
		}
		u.leave(open)
		u.leave(greedy)
		for s, entry := range u.byShare {
			if entry.conns != 0 {
				t.Errorf("%+v has %d connections after all have left", s, entry.conns)
			}
		}
	})
}

// TestShares: what one web page takes leaves something for the others, and what all of them take leaves something for the
// user's programs; of requests and of connections.
func TestShares(t *testing.T) {
	const hostile, other = "https://evil.example", "https://other.example"
	t.Run("requests", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			u := newUsers(0, 0, 0, nil)
			p, _ := u.enter(cardbroker.UserID{UID: 1})
			count := func(page string) (n int) {
				for u.allow(p, page) == nil {
					n++
				}
				return n
			}
			for _, want := range []struct {
				page string
				n    int
			}{{hostile, 100}, {hostile, 0}, {other, 50}, {noOrigin, 0}, {"", 50}, {"", 0}} {
				if got := count(want.page); got != want.n {
					t.Errorf("%q has %d requests served, want %d", want.page, got, want.n)
				}
			}
			time.Sleep(time.Second)
			if got := count(hostile); got != 50 {
				t.Errorf("a second later the page has %d requests served, want 50", got)
			}
		})
	})
	t.Run("of all users", func(t *testing.T) {
		u := newUsers(2, 3, 0, nil)
		var places []*place
		for n, uid := range []uint32{1, 1, 2, 2, 3} {
			p, err := u.enter(cardbroker.UserID{UID: uid})
			if (err == nil) != (n < 3) || n >= 3 && p != nil {
				t.Errorf("connection %d: %+v, %v, want three and no more", n+1, p, err)
			}
			places = append(places, p)
		}
		u.leave(places[0])
		u.leave(places[0])
		for n := range 2 {
			if _, err := u.enter(cardbroker.UserID{UID: 3}); (err == nil) != (n == 0) {
				t.Errorf("after one has left, connection %d: %v, want one", n+1, err)
			}
		}
	})
	t.Run("connections", func(t *testing.T) {
		u := newUsers(0, 0, 0, nil)
		var places []*place
		count := func(page string) (n int) {
			for {
				p, err := u.enter(cardbroker.UserID{UID: 1})
				if err != nil {
					u.leave(p) // who is only told so
					return n
				}
				if page != "" && u.allow(p, page) != nil {
					u.leave(p)
					return n
				}
				places = append(places, p)
				n++
			}
		}
		for _, want := range []struct {
			page string
			n    int
		}{{hostile, 16}, {hostile, 0}, {other, 16}, {noOrigin, 16}, {"https://third.example", 0}, {"", 16}, {"", 0}} {
			if got := count(want.page); got != want.n {
				t.Errorf("%q has %d connections, want %d", want.page, got, want.n)
			}
		}
		if err := u.allow(places[0], ""); err != nil { // what was a page's is now a program's
			t.Fatal(err)
		}
		u.leave(places[len(places)-1])
		if got := count(hostile); got != 1 {
			t.Errorf("the page has %d connections more after one was given up, want 1", got)
		}
	})
}
