// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package catalogue says what cards probably are, by a list of ATRs. The list is large and an idle agent small, so the list is
// read only when a card comes that was not seen before, and dropped again.
package catalogue

import (
	"context"
	"encoding/hex"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker/internal/atrlist"
	"github.com/cardbroker/cardbroker/internal/loop"
)

// maxKnown is how many ATRs are remembered at a time: more than a user has cards.
const maxKnown = 64

// Catalogue remembers what cards probably are. Its loop is the only one that touches what is known. It reads the list when it
// commits: nobody but those who ask waits for it.
type Catalogue struct {
	lists []string // files; the first that is there counts
	log   *slog.Logger
	loop  *loop.Loop[*known]
	state *known // owned by the loop
	view  atomic.Pointer[map[string][]string]
}

// known is what the catalogue remembers.
type known struct {
	cards  map[string][]string // descriptions by ATR, in hexadecimal; never changed, only replaced
	wanted []string            // ATRs that were asked for since the last commit
}

var _ loop.Owner[*known] = (*Catalogue)(nil)

// New returns a catalogue that knows nothing yet. The first of the lists that is there counts.
func New(lists []string, log *slog.Logger) *Catalogue {
	c := &Catalogue{lists: lists, log: log, loop: loop.New[*known](), state: &known{cards: map[string][]string{}}}
	c.view.Store(&c.state.cards)
	return c
}

// Run owns what is known until ctx ends.
func (c *Catalogue) Run(ctx context.Context) error { return c.loop.Run(ctx, c) }

// Describe returns what cards with these ATRs, in hexadecimal, probably are, by ATR; perhaps of other cards, too. Nothing
// is wrong if it does not know: descriptions are for people. The result is not to be changed.
func (c *Catalogue) Describe(ctx context.Context, atrs []string) map[string][]string {
	view := *c.view.Load()
	unknown := slices.DeleteFunc(slices.Clone(atrs), func(atr string) bool {
		_, seen := view[atr]
		return seen || atr == ""
	})
	if len(unknown) == 0 {
		return view
	}
	err := c.loop.Do(ctx, func(k *known) error {
		k.wanted = append(k.wanted, unknown...)
		return nil
	})
	if err != nil {
		c.log.Debug("cards are not described", "err", err)
	}
	return *c.view.Load()
}

// Begin implements [loop.Owner].
func (c *Catalogue) Begin() *known { return c.state }

// Deadline implements [loop.Owner]: nothing is ever due.
func (c *Catalogue) Deadline() time.Time { return time.Time{} }

// Tick implements [loop.Owner].
func (c *Catalogue) Tick(*known, time.Time) {}

// Commit looks up what is wanted and publishes it.
func (c *Catalogue) Commit(_ context.Context, k *known) error {
	wanted := slices.DeleteFunc(k.wanted, func(atr string) bool {
		_, seen := k.cards[atr]
		return seen
	})
	k.wanted = nil
	if len(wanted) == 0 {
		return nil
	}
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	wanted = wanted[:min(len(wanted), maxKnown)]
	cards := maps.Clone(k.cards)
	if len(cards)+len(wanted) > maxKnown {
		clear(cards)
	}
	c.lookUp(wanted, cards)
	k.cards = cards
	c.view.Store(&cards)
	debug.FreeOSMemory() // the list is gone: an idle agent keeps nothing of it
	return nil
}

// lookUp reads the list and notes what it says of the ATRs; also if it says nothing, so that it is not read again.
func (c *Catalogue) lookUp(atrs []string, cards map[string][]string) {
	list, err := atrlist.Load(c.lists...)
	if err != nil {
		c.log.Warn("cards are not described", "err", err)
		list = &atrlist.List{}
	}
	if wrong := list.Skipped(); len(wrong) > 0 && list.Path() != atrlist.DistributionFile { // that is not the administrator's to mend
		c.log.Warn("the list of ATRs has malformed lines, which were skipped", "err", wrong[0])
	}
	for _, atr := range atrs {
		raw, _ := hex.DecodeString(atr) // what is no ATR is in no list
		cards[atr] = list.Find(raw)
	}
}
