// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/child"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Card is a connection to a card. Its methods may be called by anybody, but one at a time: a second call meanwhile is
// ReaderBusy. So is each call after one that its asker left, until the card has answered that one.
//
// When the child ends, a command that runs is Indeterminate, and every later call CardReset: the card has to be opened
// anew. So it is when a local program has had its turn ([Sandbox.Turn]) and one of the two had left something on the card.
type Card struct {
	sandbox *Sandbox
	link    *link
	reader  string // its name
	number  uint32 // of the reader, in this child
	share   cardbroker.ShareMode
	party   party
	left    *atomic.Int32 // which party has left something on the card in this reader, in any child
	info    cardbroker.Card
	epoch   atomic.Uint64
	closed  atomic.Bool
	calls   chan struct{} // capacity 1: one inside while a call runs, and what is below is its own

	opened bool // Open has succeeded
	ending bool // Close is at work
	lent   bool // it has the turn for another program, and no connection of its own
	kept   bool // the link's turn is ours between calls, too
	begun  int  // transactions within each other
	sent   bool // we have sent the card something

	connected bool  // the sandbox may have our connection; of who has the link's turn
	cut       error // why it has not, after a local program's turn; likewise
}

// errEnded is the cause of a Connect that found the child at its end.
var errEnded = errors.New("the child has ended")

// Info returns the card's ATR, which must not be changed, and the active protocol.
func (c *Card) Info() cardbroker.Card { return c.info }

// Epoch returns the number of the present card epoch: a time in which the card was, for all we know, neither reset nor
// removed, and this connection never lost. A later epoch has a higher number, also after a restart of the agent.
func (c *Card) Epoch() uint64 { return c.epoch.Load() }

// Transmit sends a command APDU of 4 to 65,544 bytes and appends the response APDU, 2 bytes or more, to dst; the
// duration is the card's own time. On an error it returns dst as it was. Errors: Invalid, ReaderBusy, CardRemoved,
// CardMute; CardReset (the card has not seen the command); Indeterminate (the child ended: the card may have seen it);
// Timeout and Canceled (ctx ended: likewise, or the card is still at it). Who waits for another's turn is ReaderBusy at the
// end of his patience: the card has not seen the command.
func (c *Card) Transmit(ctx context.Context, dst, command []byte) ([]byte, time.Duration, error) {
	if n := len(command); n < apdu.MinCommand || n > apdu.MaxCommand {
		return dst, 0, cardbroker.Errorf(cardbroker.Invalid, "a command APDU has %d bytes, want %d to %d", n, apdu.MinCommand, apdu.MaxCommand)
	}
	answer, err := c.ask(ctx, wire.TypeAPDU, command)
	if err != nil {
		return dst, 0, err
	}
	defer c.leave()
	times, response, err := wire.ParseTimes(answer)
	if err != nil {
		return dst, 0, c.broken(wire.TypeAPDU, err)
	}
	return append(dst, response...), times.Card, nil
}

// Begin starts a transaction: no other program, and no other party of this agent, reaches the card until End. Errors as of
// Transmit, but never Indeterminate.
func (c *Card) Begin(ctx context.Context) error {
	if _, err := c.ask(ctx, wire.TypeBegin, nil); err != nil {
		return err
	}
	c.begun++
	c.leave()
	return nil
}

// End ends the transaction and does d with the card. Errors as of Transmit, but never Indeterminate.
func (c *Card) End(ctx context.Context, d cardbroker.Disposition) error {
	_, err := c.ask(ctx, wire.TypeEnd, wire.AppendDisposition(nil, d))
	if d != cardbroker.LeaveCard {
		c.newEpoch()
	}
	if err != nil {
		return err
	}
	c.begun = max(0, c.begun-1)
	c.disposed(d)
	c.leave()
	return nil
}

// Control calls the function of the reader that code names, as pcsc-lite numbers them, and appends what it returns to
// dst. On an error it returns dst as it was. Errors: Unsupported (the reader has no such function) and as of Transmit: a
// function may reach the card.
func (c *Card) Control(ctx context.Context, dst []byte, code uint32, input []byte) ([]byte, error) {
	if len(input) > wire.MaxPayload-4 {
		return dst, cardbroker.Errorf(cardbroker.Invalid, "a function of a reader is given %d bytes", len(input))
	}
	return c.value(ctx, dst, wire.TypeControl, wire.AppendControl(nil, code, input))
}

// Attribute returns the attribute of the reader or card that id names, PC/SC Part 3 §3.1.2. Errors: Unsupported (there is
// none) and as of Begin.
func (c *Card) Attribute(ctx context.Context, id uint32) ([]byte, error) {
	return c.value(ctx, nil, wire.TypeAttribute, wire.AppendAttribute(nil, id))
}

// value asks a question and appends what is answered to dst.
func (c *Card) value(ctx context.Context, dst []byte, t wire.Type, question []byte) ([]byte, error) {
	answer, err := c.ask(ctx, t, question)
	clear(question) // it may hold a PIN
	if err != nil {
		return dst, err
	}
	defer c.leave()
	return append(dst, answer...), nil
}

// connect waits for the turn, makes the connection, to a card with nothing of the other party's on it, and begins the card's
// epoch.
func (c *Card) connect(ctx context.Context) error {
	if err := c.enter(ctx); err != nil {
		return err
	}
	if err := c.evict(ctx); err != nil {
		return err
	}
	if c.lent && party(c.left.Load()) != backEnd {
		return c.hold()
	}
	if err := c.alone(); err != nil {
		c.leave()
		return err
	}
	if err := c.attach(ctx); err != nil {
		return err
	}
	if left := party(c.left.Load()); left != nobody && left != c.party {
		if err := c.detach(ctx, cardbroker.ResetCard); err != nil {
			return err
		}
		if c.lent {
			return c.hold()
		}
		if err := c.attach(ctx); err != nil {
			return err
		}
	}
	c.newEpoch()
	if c.party == backEnd {
		c.link.holder = c
	}
	c.opened = true
	c.leave()
	return nil
}

// hold begins a loan: what becomes of the card is not seen here.
func (c *Card) hold() error {
	c.left.Store(int32(local))
	c.sent, c.opened = true, true
	c.leave()
	return nil
}

// alone has others let go of the card where the connection is to be shared with nobody.
func (c *Card) alone() error {
	if c.share == cardbroker.ShareShared || c.sandbox.cfg.Release == nil {
		return nil
	}
	return c.sandbox.cfg.Release()
}

// attach makes the connection. On an error the turn is left, as with exchange.
func (c *Card) attach(ctx context.Context) error {
	c.connected = true // it may be, whatever is answered
	answer, err := c.exchange(ctx, wire.TypeConnect, wire.Connect{Share: c.share}.Append(nil))
	if err != nil {
		return err
	}
	m, err := wire.ParseCardIn(answer)
	if err != nil {
		defer c.leave()
		return c.broken(wire.TypeConnect, err)
	}
	c.info = cardbroker.Card{ATR: bytes.Clone(m.ATR), Protocol: m.Protocol}
	return nil
}

// detach ends the connection, and does d with the card. On an error the turn is left.
func (c *Card) detach(ctx context.Context, d cardbroker.Disposition) error {
	if _, err := c.exchange(ctx, wire.TypeDisconnect, wire.AppendDisposition(nil, d)); err != nil {
		return err
	}
	c.connected = false
	c.disposed(d)
	return nil
}

// disposed takes note that d was done with the card.
func (c *Card) disposed(d cardbroker.Disposition) {
	if d != cardbroker.LeaveCard {
		c.left.Store(int32(nobody))
	}
}

// ask takes the turn and does [Card.exchange].
func (c *Card) ask(ctx context.Context, t wire.Type, payload []byte) ([]byte, error) {
	if err := c.enter(ctx); err != nil {
		if errors.Is(err, errEnded) {
			return nil, c.lost(t, false, err)
		}
		return nil, err
	}
	if c.closed.Load() {
		c.leave()
		return nil, cardbroker.Errorf(cardbroker.CardReset, "the connection to the card was closed")
	}
	if ctx.Err() != nil {
		c.leave()
		return nil, child.Asked(ctx)
	}
	if err := c.restore(ctx); err != nil {
		return nil, err
	}
	if t == wire.TypeAPDU || t == wire.TypeControl {
		c.sent = true
		c.left.Store(int32(c.party))
	}
	return c.exchange(ctx, t, payload)
}

// exchange sends a frame and returns the payload of its answer, which is valid until the caller leaves the turn. On an
// error the turn is left, or passed on to who waits for the late answer.
func (c *Card) exchange(ctx context.Context, t wire.Type, payload []byte) ([]byte, error) {
	limit := time.Now().Add(c.sandbox.cfg.CallLimit)
	h, answer, sent, err := c.link.exchange(ctx, limit, wire.Header{Type: t, Reader: c.number}, payload)
	switch {
	case err == nil && h.Type == answerTo(t):
		return answer, nil
	case err == nil && h.Type == wire.TypeError:
		defer c.leave()
		refused, err := wire.ParseError(answer)
		if err != nil {
			return nil, c.broken(t, err)
		}
		if epochEnds(refused.Reason) {
			c.newEpoch()
		}
		return nil, refused
	case sent && child.IsTimeout(err) && time.Now().Before(limit):
		c.leaveLate(limit)
		return nil, child.Asked(ctx)
	case errors.Is(err, child.ErrLeft):
		c.leave()
		return nil, child.Asked(ctx)
	}
	defer c.leave()
	if err == nil {
		err = cardbroker.Errorf(cardbroker.Internal, "an answer has the type %d", h.Type)
	}
	if !sent {
		c.link.process.Stop() // the stream may hold half a frame
		return nil, c.lost(t, false, err)
	}
	return nil, c.broken(t, err)
}

// leaveLate passes the turn to a goroutine that takes the answer nobody waits for any more, or ends the child when there
// is none within the limit.
func (c *Card) leaveLate(limit time.Time) {
	l := c.link
	job := func(context.Context) error {
		if err := l.awaitLate(limit); err != nil {
			l.process.Fail(err)
		}
		c.leave()
		return c.sandbox.tell(func(*state) { l.process.Uses-- })
	}
	err := c.sandbox.tell(func(st *state) {
		l.process.Uses++
		st.group.Go("late answer", job)
	})
	if err != nil {
		l.process.Stop()
		c.leave()
	}
}

// broken ends the child after an answer that is no good, or that did not come, and returns what became of the call.
func (c *Card) broken(t wire.Type, err error) error {
	c.link.process.Fail(err)
	return c.lost(t, true, err)
}

// lost says that the child is at its end, and returns what became of the call.
func (c *Card) lost(t wire.Type, sent bool, err error) error {
	c.sandbox.tell(func(st *state) { st.life.Fails(c.link.process.Process) })
	c.newEpoch()
	switch {
	case t == wire.TypeConnect || !c.opened:
		return cardbroker.Wrapf(fmt.Errorf("%w: %w", errEnded, err), cardbroker.Unavailable, "the sandbox ended; try again")
	case (t == wire.TypeAPDU || t == wire.TypeControl) && sent:
		return cardbroker.Wrapf(err, cardbroker.Indeterminate, "the sandbox ended while the card had the command")
	}
	return cardbroker.Wrapf(err, cardbroker.CardReset, "the sandbox was restarted; connect to the card again")
}

// epochEnds says whether a card may be another, or in another state, after an error.
func epochEnds(reason cardbroker.Reason) bool {
	return reason == cardbroker.CardReset || reason == cardbroker.CardRemoved || reason == cardbroker.Indeterminate
}

func (c *Card) newEpoch() { c.epoch.Store(c.sandbox.epoch.Add(1)) }

// answerTo returns the type of a good answer.
func answerTo(t wire.Type) wire.Type {
	switch t {
	case wire.TypeConnect:
		return wire.TypeConnected
	case wire.TypeAPDU:
		return wire.TypeAPDUResponse
	case wire.TypeControl:
		return wire.TypeControlled
	case wire.TypeAttribute:
		return wire.TypeValue
	}
	return wire.TypeDone
}
