// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandboxtest

import (
	"context"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
)

// tests are the parts of the suite that take the card out. Each leaves it in.
func (h *Hand) tests() []test {
	return []test{
		{"Removed", h.testRemoved},
		{"RemovedInTransaction", h.testRemovedInTransaction},
		{"RemovedUnderDirect", h.testRemovedUnderDirect},
		{"Events", h.testEvents},
	}
}

// testRemoved: a connection to a card that was taken out is of no use any more, also when that card, or another, is in
// again. That is told from a reset.
func (h *Hand) testRemoved(t *testing.T, readers sandbox.Readers) {
	card := connect(t, readers, cardbroker.ShareShared)
	reader, end := list(t, readers)
	end()
	h.Pull(t)
	for range 2 {
		want(t, "Transmit to a card that is out", transmit(t, card), cardbroker.CardRemoved)
	}
	want(t, "Begin", card.Begin(), cardbroker.CardRemoved)
	_, err := readers.Connect(reader.Reader, cardbroker.ShareShared)
	want(t, "Connect without a card", err, cardbroker.CardAbsent)
	h.Insert(t)
	want(t, "Transmit after it is in again", transmit(t, card), cardbroker.CardRemoved)
	want(t, "Transmit of a new connection", transmit(t, connect(t, readers, cardbroker.ShareShared)), "")
	want(t, "Disconnect of the old one", card.Disconnect(cardbroker.ResetCard), "")
}

// testRemovedInTransaction: a transaction ends with its card.
func (h *Hand) testRemovedInTransaction(t *testing.T, readers sandbox.Readers) {
	card := connect(t, readers, cardbroker.ShareShared)
	want(t, "Begin", card.Begin(), "")
	h.Pull(t)
	want(t, "Transmit within", transmit(t, card), cardbroker.CardRemoved)
	h.Insert(t)
	other := connect(t, readers, cardbroker.ShareShared)
	want(t, "another's Begin", other.Begin(), "")
	want(t, "another's Transmit", transmit(t, other), "")
	want(t, "another's End", other.End(cardbroker.LeaveCard), "")
	if err := card.End(cardbroker.LeaveCard); err == nil {
		t.Error("End of the transaction that ended with its card = nil, want an error")
	}
}

// testRemovedUnderDirect: a direct connection needs no card, and outlives each.
func (h *Hand) testRemovedUnderDirect(t *testing.T, readers sandbox.Readers) {
	reader, end := list(t, readers)
	end()
	h.Pull(t)
	defer h.Insert(t)
	direct, err := readers.Connect(reader.Reader, cardbroker.ShareDirect)
	if err != nil {
		t.Fatalf("Connect directly without a card = %v", err)
	}
	if info := direct.Info(); len(info.ATR) > 0 {
		t.Errorf("Info() = %+v, want no ATR", info)
	}
	want(t, "Transmit directly", transmit(t, direct), cardbroker.Invalid)
	want(t, "Disconnect", direct.Disconnect(cardbroker.LeaveCard), "")
}

// testEvents: who watches is told of the card that goes and comes, within a second of its being noticed.
func (h *Hand) testEvents(t *testing.T, readers sandbox.Readers) {
	ctx, cancel := context.WithCancel(t.Context())
	events, ended := make(chan sandbox.Event, 100), make(chan error, 1)
	go func() { ended <- readers.Watch(ctx, func(e sandbox.Event) { events <- e }) }()
	defer func() {
		cancel()
		<-ended
	}()
	until := func(what string, is func(sandbox.Event) bool, limit time.Duration) {
		t.Helper()
		timer := time.NewTimer(limit)
		for {
			select {
			case e := <-events:
				if is(e) {
					return
				}
			case <-timer.C:
				t.Fatalf("not told within %v: %s", limit, what)
			}
		}
	}
	until("the list is complete", func(e sandbox.Event) bool { return e == sandbox.Event{} }, watchLimit)
	h.Pull(t)
	until("the card is out", func(e sandbox.Event) bool { return e.Present && e.Card == nil }, time.Second)
	h.Insert(t)
	until("the card is in", func(e sandbox.Event) bool { return e.Present && e.Card != nil }, time.Second)
}
