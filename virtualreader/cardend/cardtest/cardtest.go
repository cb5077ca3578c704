// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package cardtest is a reader with a card made of memory, for tests of what lies between a back end and a card: it
// answers each command with the command and 9000, and is taken out, reset and held up at will. Only tests import it.
package cardtest

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

// ReaderName is the name of the only reader.
const ReaderName = "Memory Reader 00 00"

// ATR is the card's.
const ATR = "\x3B\x80\x80\x01\x01"

// Reader is a reader with one card, which is in it at first. All its methods may be called by any goroutine.
type Reader struct {
	Changed chan struct{}                          // capacity 1; as cardend.Tunnel wants it
	gate    atomic.Pointer[chan chan struct{}]     // see Hold
	last    atomic.Pointer[cardbroker.Disposition] // of the last Close
	sent    atomic.Pointer[[]byte]                 // the last command
	life    atomic.Uint64                          // odd: a card is in; each reset adds 2
	card    atomic.Pointer[cardbroker.Card]        // that is in; another one each time
	lose    atomic.Bool                            // see Lose
	run     atomic.Int64
	open    atomic.Int64
	begun   atomic.Int64
}

// NewReader returns a reader with its card in.
func NewReader() *Reader {
	r := &Reader{Changed: make(chan struct{}, 1)}
	r.life.Store(1)
	r.card.Store(newCard())
	return r
}

// Remove takes the card out.
func (r *Reader) Remove() {
	r.card.Store(nil)
	r.change(1)
}

// Insert puts a card in.
func (r *Reader) Insert() {
	r.card.Store(newCard())
	r.change(1)
}

// Replace takes the card out and puts in another of its kind, too fast for whoever only looks.
func (r *Reader) Replace() {
	r.card.Store(newCard())
	r.change(4)
}

// Reset resets the card that is in.
func (r *Reader) Reset() { r.change(2) }

// Nudge signals a change that is none, as that of another reader.
func (r *Reader) Nudge() { r.change(0) }

func (r *Reader) change(by uint64) {
	r.life.Add(by)
	select {
	case r.Changed <- struct{}{}:
	default:
	}
}

// Hold makes the next command announce itself on the channel that it returns and then wait until what it sent is closed.
func (r *Reader) Hold() <-chan chan struct{} {
	gate := make(chan chan struct{})
	r.gate.Store(&gate)
	return gate
}

// Lose has the next command run, and its answer lost: it is Indeterminate.
func (r *Reader) Lose() { r.lose.Store(true) }

// Executed returns how many commands the card has seen.
func (r *Reader) Executed() int { return int(r.run.Load()) }

// Sent returns the last command that the card has seen.
func (r *Reader) Sent() []byte {
	if command := r.sent.Load(); command != nil {
		return *command
	}
	return nil
}

// Connections returns how many connections to the card are open.
func (r *Reader) Connections() int { return int(r.open.Load()) }

// Transactions returns how many transactions there are, within each other.
func (r *Reader) Transactions() int { return int(r.begun.Load()) }

// LastClose returns how the last connection was closed; nil: none was.
func (r *Reader) LastClose() *cardbroker.Disposition { return r.last.Load() }

// Present returns the card; nil: none is in.
func (r *Reader) Present() *cardbroker.Card {
	return r.card.Load()
}

func newCard() *cardbroker.Card {
	return &cardbroker.Card{ATR: []byte(ATR), Protocol: cardbroker.ProtocolT1}
}

// Tunnel returns the tunnel to this reader.
func (r *Reader) Tunnel(tenant cardbroker.Tenant) cardend.Tunnel {
	return cardend.Tunnel{
		ID: cardend.TunnelID{15: 1}, Tenant: tenant, Reader: ReaderName, Epoch: 7, Changed: r.Changed, Present: r.Present,
	}
}

// Open implements cardend.Cards.
func (r *Reader) Open(_ context.Context, reader string, _ cardbroker.ShareMode) (cardend.Card, error) {
	life := r.life.Load()
	switch {
	case reader != ReaderName:
		return nil, cardbroker.Errorf(cardbroker.ReaderUnknown, "no such reader")
	case life%2 == 0:
		return nil, cardbroker.Errorf(cardbroker.CardAbsent, "no card in the reader")
	}
	r.open.Add(1)
	return &card{reader: r, life: life}, nil
}

type card struct {
	reader *Reader
	life   uint64
	begun  int64 // transactions within each other
}

func (c *card) Info() cardbroker.Card { return *newCard() }

// Transmit implements cardend.Card. It takes the time of a memory copy, and says a millisecond.
func (c *card) Transmit(_ context.Context, dst, command []byte) ([]byte, time.Duration, error) {
	if err := c.gone(); err != nil {
		return nil, 0, err
	}
	c.reader.run.Add(1)
	sent := bytes.Clone(command)
	c.reader.sent.Store(&sent)
	if gate := c.reader.gate.Swap(nil); gate != nil {
		release := make(chan struct{})
		*gate <- release
		<-release
		if err := c.gone(); err != nil {
			return nil, 0, err
		}
	}
	if c.reader.lose.Swap(false) {
		return nil, 0, cardbroker.Errorf(cardbroker.Indeterminate, "the answer was lost")
	}
	return append(append(dst, command...), 0x90, 0x00), time.Millisecond, nil
}

func (c *card) gone() error {
	switch now := c.reader.life.Load(); {
	case now == c.life:
		return nil
	case now == c.life+2: // odd again: the same card, or another in its place
		return cardbroker.Errorf(cardbroker.CardReset, "the card was reset")
	default:
		return cardbroker.Errorf(cardbroker.CardRemoved, "the card was removed")
	}
}

func (c *card) Begin(context.Context) error {
	if err := c.gone(); err != nil {
		return err
	}
	c.begun++
	c.reader.begun.Add(1)
	return nil
}

func (c *card) End(context.Context, cardbroker.Disposition) error {
	if err := c.gone(); err != nil {
		return err
	}
	c.begun--
	c.reader.begun.Add(-1)
	return nil
}

// Control implements cardend.Card: function 1 returns its input.
func (c *card) Control(_ context.Context, dst []byte, code uint32, input []byte) ([]byte, error) {
	if code != 1 {
		return dst, cardbroker.Errorf(cardbroker.Unsupported, "the reader has no function %d", code)
	}
	return append(dst, input...), c.gone()
}

// Attribute implements cardend.Card: the only one is the ATR, SCARD_ATTR_ATR_STRING.
func (c *card) Attribute(_ context.Context, id uint32) ([]byte, error) {
	if id != 0x00090303 {
		return nil, cardbroker.Errorf(cardbroker.Unsupported, "the reader has no attribute %08X", id)
	}
	return []byte(ATR), c.gone()
}

func (c *card) Close(d cardbroker.Disposition) error {
	c.reader.open.Add(-1)
	c.reader.begun.Add(-c.begun)
	c.reader.last.Store(&d)
	return nil
}
