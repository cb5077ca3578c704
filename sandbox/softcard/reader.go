// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard

import (
	"context"
	"log/slog"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/sandbox"
)

// Name is the name of the reader.
const Name = "cardbroker Software Reader 00 00"

var _ sandbox.Readers = (*Reader)(nil)

// Reader is the software reader with its card, which is never taken out. Whoever owns the reader calls it and its
// connections; a call while another one runs waits for its end, as with any reader.
type Reader struct {
	turn chan struct{} // capacity 1: one inside while a call runs, and what is below is its own

	info   cardbroker.Card
	card   inside
	users  int         // open connections
	sole   bool        // one connection is open, and exclusive
	holder *connection // whose transaction it is, or nil
	resets uint64      // how often the card was reset
}

// inside is the card: its own (card), or one that was recorded (trace.Play).
type inside interface {
	// Transmit appends the response APDU to dst.
	Transmit(dst, command []byte) []byte
	// Reset is a loss of power.
	Reset()
}

// New returns a reader with a card whose state is in the file, or in memory only if file is "". A file that does not
// exist is made with the first change of the card's state; it has mode 0600. Errors: Invalid (the file is damaged, which
// leaves it as it is, or open to others; the message names the place), Unavailable (the file cannot be read).
//
// A change that cannot be saved is not made: the card answers 6581, and the cause goes to log.
func New(file string, log *slog.Logger) (*Reader, error) {
	r := &Reader{turn: make(chan struct{}, 1), info: cardInfo()}
	recorded, err := openTrace(file)
	if err != nil {
		return nil, err
	}
	if recorded != nil {
		r.info, r.card = recorded.Card(), recorded
		return r, nil
	}
	s, err := openStore(file, log)
	if err != nil {
		return nil, err
	}
	r.card = &card{applet: piv{store: s}}
	return r, nil
}

// Watch tells emit of the reader and its card, that this was all, and then waits for the end of ctx: nothing ever changes.
func (r *Reader) Watch(ctx context.Context, emit func(sandbox.Event)) error {
	info := r.info
	emit(sandbox.Event{Reader: Name, Present: true, Card: &info})
	emit(sandbox.Event{}) // that was all
	<-ctx.Done()
	return ctx.Err()
}

// cardInfo describes the card. The ATR offers T=0 and T=1, and its historical bytes say, ISO/IEC 7816-4 §12.1.1: selection
// by full and partial AID, command chaining, extended lengths, issuer's data "softcard".
func cardInfo() cardbroker.Card {
	atr := []byte("\x3B\x8E\x80\x01" + "\x80\x73\xC0\x21\xC0\x58softcard" + "\x00")
	for _, b := range atr[1 : len(atr)-1] {
		atr[len(atr)-1] ^= b // TCK, ISO/IEC 7816-3 §8.2.5
	}
	return cardbroker.Card{ATR: atr, Protocol: cardbroker.ProtocolT1}
}

// Connect opens a connection to the card. Errors: ReaderUnknown, ReaderBusy, Invalid (the share mode).
func (r *Reader) Connect(name string, share cardbroker.ShareMode) (sandbox.Card, error) {
	if name != Name {
		return nil, cardbroker.Errorf(cardbroker.ReaderUnknown, "no such reader")
	}
	if share < cardbroker.ShareExclusive || share > cardbroker.ShareDirect {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "share mode %d, want 1 to 3", share)
	}
	r.enter()
	defer r.leave()
	exclusive := share == cardbroker.ShareExclusive
	if r.sole || r.holder != nil || exclusive && r.users > 0 {
		return nil, cardbroker.Errorf(cardbroker.ReaderBusy, "another connection uses the reader")
	}
	r.users++
	r.sole = exclusive
	info := r.info
	if share == cardbroker.ShareDirect {
		info.Protocol = cardbroker.ProtocolUndefined
	}
	return &connection{reader: r, info: info, resets: r.resets}, nil
}

// enter waits for the turn: no call takes longer than a command of the card.
func (r *Reader) enter() { r.turn <- struct{}{} }

func (r *Reader) leave() { <-r.turn }

// connection is one connection to the card. Its fields below info are guarded as those of its reader.
type connection struct {
	reader *Reader
	info   cardbroker.Card
	resets uint64 // of the reader's, how many this connection knows of
	begun  int    // transactions begun within each other
	closed bool
}

func (c *connection) Info() cardbroker.Card { return c.info }

func (c *connection) Begin() error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.reader.leave()
	c.reader.holder = c
	c.begun++
	return nil
}

func (c *connection) End(d cardbroker.Disposition) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.reader.leave()
	if c.begun == 0 {
		return cardbroker.Errorf(cardbroker.Invalid, "no transaction was begun")
	}
	if err := c.dispose(d); err != nil {
		return err
	}
	if c.begun--; c.begun == 0 {
		c.reader.holder = nil
	}
	return nil
}

func (c *connection) Transmit(dst, command []byte) ([]byte, error) {
	if len(command) < apdu.MinCommand {
		return dst, cardbroker.Errorf(cardbroker.Invalid, "a command APDU has %d bytes, want 4 or more", len(command))
	}
	if c.info.Protocol == cardbroker.ProtocolUndefined {
		return dst, cardbroker.Errorf(cardbroker.Invalid, "a direct connection takes no commands")
	}
	if err := c.enter(); err != nil {
		return dst, err
	}
	defer c.reader.leave()
	return c.reader.card.Transmit(dst, command), nil
}

// Control knows no function: the software reader has no pin pad and nothing to be set.
func (c *connection) Control(dst []byte, code uint32, _ []byte) ([]byte, error) {
	return dst, cardbroker.Errorf(cardbroker.Unsupported, "the software reader has no function %08X", code)
}

// attributeATR is SCARD_ATTR_ATR_STRING, PC/SC Part 3 §3.1.2.
const attributeATR = 0x00090303

func (c *connection) Attribute(id uint32) ([]byte, error) {
	if id != attributeATR {
		return nil, cardbroker.Errorf(cardbroker.Unsupported, "the software reader has no attribute %08X", id)
	}
	return c.info.ATR, nil
}

func (c *connection) Disconnect(d cardbroker.Disposition) error {
	r := c.reader
	r.enter()
	defer r.leave()
	if c.closed {
		return errClosed()
	}
	if err := c.dispose(d); err != nil {
		return err
	}
	c.closed = true
	r.users--
	r.sole = false
	if r.holder == c {
		r.holder = nil
	}
	return nil
}

// enter begins a call that needs the card: no other connection may have a transaction, and that another connection reset
// the card is told once.
func (c *connection) enter() error {
	r := c.reader
	r.enter()
	var err error
	switch {
	case c.closed:
		err = errClosed()
	case r.holder != nil && r.holder != c:
		err = cardbroker.Errorf(cardbroker.ReaderBusy, "another connection has a transaction")
	case c.resets != r.resets:
		c.resets = r.resets
		err = cardbroker.Errorf(cardbroker.CardReset, "another connection reset the card")
	default:
		return nil
	}
	r.leave()
	return err
}

// dispose does d with the card: one that is not left as it is loses its power, or as good as. Nobody does that to a card
// in another connection's transaction.
func (c *connection) dispose(d cardbroker.Disposition) error {
	if d > cardbroker.EjectCard {
		return cardbroker.Errorf(cardbroker.Invalid, "disposition %d, want 0 to 3", d)
	}
	r := c.reader
	if d != cardbroker.LeaveCard && (r.holder == nil || r.holder == c) {
		r.card.Reset()
		r.resets++
		c.resets = r.resets
	}
	return nil
}

func errClosed() error {
	return cardbroker.Errorf(cardbroker.Invalid, "the connection has ended")
}
