// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package notice

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
)

// Entry is a PIN that the user is to enter at a reader, which asks for it by itself.
type Entry struct {
	Origin cardbroker.Origin // of the page that wants it; empty: a program of the user's own
	Reader string            // its name
	Which  string            // PIN that is; may be empty

	key string
}

// Entries are those that wait for the user now. Any number of goroutines may use them.
type Entries struct {
	now     atomic.Pointer[[]Entry] // immutable; nil: none
	changed chan struct{}           // capacity 1
}

// NewEntries returns none.
func NewEntries() *Entries { return &Entries{changed: make(chan struct{}, 1)} }

// Begin adds one, until end is called.
func (e *Entries) Begin(x Entry) (end func()) {
	x.key = rand.Text()
	e.change(func(all []Entry) []Entry { return append(all, x) })
	return func() {
		e.change(func(all []Entry) []Entry { return slices.DeleteFunc(all, func(y Entry) bool { return y.key == x.key }) })
	}
}

func (e *Entries) change(next func([]Entry) []Entry) {
	for {
		was := e.now.Load()
		var all []Entry
		if was != nil {
			all = slices.Clone(*was)
		}
		now := next(all)
		if e.now.CompareAndSwap(was, &now) {
			loop.Signal(e.changed)
			return
		}
	}
}

func (e *Entries) list() []Entry {
	if e == nil {
		return nil
	}
	if now := e.now.Load(); now != nil {
		return *now
	}
	return nil
}

func (e *Entries) signal() <-chan struct{} {
	if e == nil {
		return nil
	}
	return e.changed
}

func entering(e Entry) text {
	return text{summary: "Enter your PIN at the card reader", body: fmt.Sprintf("%s asks for it. Reader: %s. %s",
		clean(cmp.Or(string(e.Origin), "A program of yours")), clean(e.Reader), clean(e.Which))}
}
