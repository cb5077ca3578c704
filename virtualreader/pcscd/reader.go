// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/cardbroker/cardbroker"
)

// maxWaiting is how many clients may wait for their turn at one reader.
const maxWaiting = 8

// reader is a reader and what its clients do with it. What they agreed on is part of the state. The upstream card belongs
// to the client that has the reader's turn, who calls it himself, without a goroutine between. Who has a reader's turn may
// take that of the state, but never the other way round.
type reader struct {
	name string
	unit uint32

	// Part of the state.
	card      *cardbroker.Card // nil: none inside
	counter   uint32           // of insertions and removals, 16 bits
	handles   map[*handle]bool
	exclusive bool       // the one handle is alone
	queue     []*request // who waits for the end of the holder's transaction, in order

	// Written with the state, read by all.
	epoch    atomic.Uint64          // changes with the card
	protocol atomic.Uint32          // negotiated
	holder   atomic.Pointer[handle] // who has a transaction, or is exclusive

	turn    turn
	waiting atomic.Int32 // clients that wait for it
	up      upstream     // of who has the turn
}

func newReader(name string) *reader {
	return &reader{name: name, counter: 1, handles: make(map[*handle]bool), turn: newTurn()}
}

// count counts an insertion or a removal.
func (r *reader) count() { r.counter = next16(r.counter) }

// next16 counts with the 16 bits that clients have for it. They take 0 for the count of somebody who knows nothing yet.
func next16(n uint32) uint32 { return max(1, (n+1)&0xFFFF) }

// lacks says why the card cannot be connected to in a share mode.
func (r *reader) lacks(share cardbroker.ShareMode) uint32 {
	switch {
	case share == cardbroker.ShareDirect:
		return success
	case r.card == nil:
		return noSmartcard
	case len(r.card.ATR) == 0:
		return unresponsiveCard
	}
	return success
}

// mark makes all handles but one answer a code until they are reconnected; those whose reader is gone, for ever. A card
// that was reset and then removed is removed.
func (r *reader) mark(code uint32, but *handle) {
	for h := range r.handles {
		was := h.trouble.Load()
		if h != but && was != readerUnavailable && (code != resetCard || was == success) {
			h.trouble.Store(code)
		}
		if code != resetCard {
			h.begun.Store(0)
		}
	}
	r.protocol.Store(uint32(cardbroker.ProtocolUndefined))
}

// hold gives a handle the transaction.
func (r *reader) hold(h *handle) {
	h.begun.Store(h.begun.Load() + 1)
	r.holder.Store(h)
}

// forget drops requests.
func (r *reader) forget(which func(*request) bool) { r.queue = slices.DeleteFunc(r.queue, which) }

// take takes the turn, unless too many wait for it or ctx ends.
func (r *reader) take(ctx context.Context) bool {
	if r.turn.try() {
		return true
	}
	defer r.waiting.Add(-1)
	return r.waiting.Add(1) <= maxWaiting && r.turn.await(ctx)
}

// await takes the turn however many wait for it.
func (r *reader) await(ctx context.Context) bool { return r.turn.await(ctx) }

func (r *reader) leave() { r.turn.leave() }

// usable says why a handle cannot be used: another client's transaction, or what became of its card.
func (h *handle) usable() uint32 {
	if holder := h.reader.holder.Load(); holder != nil && holder != h {
		return sharingViolation
	}
	return h.trouble.Load()
}

// enter takes the turn for a use of the handle, or says why not.
func (h *handle) enter(ctx context.Context) uint32 {
	if code := h.usable(); code != success {
		return code
	}
	if !h.reader.take(ctx) {
		return sharingViolation
	}
	if code := h.usable(); code != success { // it may be otherwise after the wait
		h.reader.leave()
		return code
	}
	return success
}
