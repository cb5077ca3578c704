// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/meter"
	"github.com/cardbroker/cardbroker/virtualreader/script"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// exchange is the conversation of one tunnel: it executes each frame of the back end once and in order. The goroutine
// that reads the tunnel owns it.
type exchange struct {
	holder *Holder
	conn   *lookahead // the connection, until it is cut
	tunnel Tunnel
	lease  context.Context // ends when the lease does; its cause says why

	// How the lease outlives its connection and the process.
	token      token
	durability cardbroker.Durability
	since      time.Time
	expires    time.Time
	journal    *journal.Journal // nil: there is none
	recorded   bool             // the journal says that the last frame is executing
	step       int              // with recorded: of a script, the step that it says is executing
	restored   bool             // an earlier process held the lease: of its frames only those that reached the card are known

	// Shared with the attendant.
	next     chan attached             // capacity 1: a connection over which the lease is taken up again
	current  atomic.Pointer[lookahead] // the connection that may be told of events; nil: there is none
	greeting atomic.Pointer[lookahead] // a connection that has not said Resume yet
	moved    chan struct{}             // capacity 1: current is another
	behind   chan chan<- struct{}      // what is closed when the back end has been told which card is in
	grace    atomic.Int64              // how long the lease goes on without a connection, as a time.Duration

	share cardbroker.ShareMode // how to connect when a command needs the card
	card  Card                 // nil: not connected
	used  bool                 // the card may still be as the back end made it
	lost  *cardbroker.Error    // why it is not connected; the back end has to connect again

	firewall *firewall.Judge
	refused  firewall.Tally

	meter    *meter.Meter
	before   command // what the card was sent last
	refusals int     // how often in a row the user did not enter a PIN
	wrong    *wrongPIN

	gathering wire.Gathering // of a script whose frames have not all come
	scripts   script.State   // between the parts of a script

	// The last frame and its answer. The frame itself is not kept: it may hold a PIN, which a plain hash gives away.
	seq     uint64
	mac     hash.Hash
	digest  [sha256.Size]byte
	kind    wire.Type
	payload []byte
	repeats int // how often it came again before it was answered
	scratch [1]byte
}

// command is what matters of a command for those that follow it.
type command uint8

const (
	commandPlain   command = iota
	commandChained         // not the last of its chain
	commandPIN             // with a PIN that the user entered
)

func newExchange(h *Holder, t Tunnel) *exchange {
	var key [32]byte
	rand.Read(key[:])
	return &exchange{holder: h, tunnel: t, mac: hmac.New(sha256.New, key[:]), meter: meter.New(t.Tenant, t.Report),
		firewall: firewall.New(t.Firewall, t.PIN), next: make(chan attached, 1), moved: make(chan struct{}, 1), behind: make(chan chan<- struct{}),
		gathering: wire.Gathering{Max: script.MaxPart}}
}

// epoch returns the reader's card epoch now.
func (e *exchange) epoch() uint64 {
	if e.tunnel.Epochs == nil {
		return e.tunnel.Epoch
	}
	return e.tunnel.Epochs()
}

// run serves one connection after the other until the lease ends, and returns why. It leaves the card reset, so that whoever
// comes next finds nothing of this back end: no verified PIN, no open secure channel.
func (e *exchange) run(ctx, lease context.Context) error {
	defer e.reset(ctx)
	defer e.tellRest()
	defer e.meter.Flush()
	defer e.scripts.Wipe()
	defer e.gathering.Drop()
	e.lease = lease
	if e.restored {
		lost := e.lost
		e.reset(ctx)
		e.lost = lost
	}
	for {
		if e.conn != nil {
			err := e.converse(ctx)
			if why := context.Cause(e.lease); why != nil { // the connection ends because of that
				return why
			}
			if !e.survives(err) {
				return err
			}
			e.cut(err)
		}
		if err := e.reconnect(ctx); err != nil {
			e.conn = nil
			return err
		}
	}
}

// converse answers frames until the connection or the lease ends, and returns why.
func (e *exchange) converse(ctx context.Context) error {
	lease := e.lease
	for {
		head, payload, err := e.conn.Receive()
		if err == nil {
			err = context.Cause(lease) // what comes after its end does not reach the card
		}
		if err == nil {
			err = e.parting(e.answer(ctx, head, payload))
		}
		if cardbroker.ReasonOf(err) == cardbroker.Invalid {
			refuse(e.conn, head.Seq, err)
		}
		if err != nil {
			return err
		}
	}
}

// parting returns why a connection ends over which an answer could not be sent: a back end that left in order, while its command
// ran, has said so, and that waits to be read. It takes a second at most.
func (e *exchange) parting(err error) error {
	if reason := cardbroker.ReasonOf(err); reason != cardbroker.Unavailable && reason != cardbroker.Timeout || context.Cause(e.lease) != nil {
		return err
	}
	e.conn.Shutdown(err)
	for {
		_, _, last := e.conn.Receive()
		if errors.Is(last, io.EOF) {
			return last
		}
		if last != nil {
			return err
		}
	}
}

// answer answers one frame. An error ends the tunnel; it is Invalid where the back end broke the protocol.
func (e *exchange) answer(ctx context.Context, head wire.Header, payload []byte) error {
	arrived := time.Now()
	e.meter.Tick(arrived)
	head, payload, whole, err := e.gathering.Gather(head, payload)
	if err != nil || !whole {
		return err
	}
	if head.Type == wire.TypeScript {
		defer clear(payload) // which may be a buffer of its own, with secrets in it
	}
	switch {
	case head.Reader != 0:
		return invalid("a frame names reader %d, want 0 in a tunnel", head.Reader)
	case head.Type == wire.TypePing && head.Seq == 0:
		return e.pong(payload)
	case head.Seq == e.seq:
		return e.again(identity(head), payload)
	case head.Seq != e.seq+1:
		return invalid("a frame has seq %d, want %d", head.Seq, e.seq+1)
	case head.Ack > e.seq:
		return invalid("a frame acknowledges seq %d, the last was %d", head.Ack, e.seq)
	}
	r, err := parseRequest(head.Type, payload)
	if err != nil {
		return err
	}
	r.judge = head.Flags&wire.FlagJudge != 0
	e.seq, e.recorded, e.restored = head.Seq, false, false
	clear(e.payload) // of an answer that has arrived
	e.kind, e.payload = wire.TypeDone, e.payload[:0]
	first := head.Type == wire.TypeControl || e.journal != nil
	if first {
		e.remember(identity(head), payload) // what is read while the user is asked takes its place; and the journal wants it
	}
	if err := e.execute(ctx, r, arrived); err != nil {
		if end, ok := errors.AsType[tunnelEnd](err); ok {
			e.seq-- // it was not executed, and is when it comes again
			return end.error
		}
		e.tell(err)
		e.meter.Failed(arrived, err)
		e.kind, e.payload = wire.TypeError, wire.AppendError(e.payload[:0], shown(err))
	}
	e.executed() // should that fail, the next command is refused; and after a crash nobody claims to know
	err = e.send()
	if !first {
		e.remember(identity(head), payload) // while the answer travels
	}
	for ; err == nil && e.repeats > 0; e.repeats-- {
		err = e.send()
	}
	return err
}

// execute does what a frame asks for and leaves the answer in kind and payload; Done is there already. An error is the
// answer, too.
func (e *exchange) execute(ctx context.Context, r request, arrived time.Time) error {
	switch r.kind {
	case wire.TypeAPDU:
		return e.transmit(ctx, r.command, arrived)
	case wire.TypeConnect:
		return e.connect(ctx, r.share)
	case wire.TypeDisconnect:
		e.lost = nil
		return e.leave(r.disposition)
	case wire.TypeRenew:
		return e.renew(ctx, e.granted(r.lease))
	case wire.TypeControl:
		return e.control(ctx, r.number, r.input)
	case wire.TypeAttribute:
		return e.attribute(ctx, r.number)
	case wire.TypeScript:
		return e.script(ctx, r.script, r.judge, arrived)
	}
	if err := e.need(ctx); err != nil {
		return err
	}
	if r.kind == wire.TypeBegin {
		return e.failed(e.card.Begin(ctx))
	}
	err := e.card.End(ctx, r.disposition)
	if err != nil || r.disposition != cardbroker.LeaveCard {
		e.left(r.disposition, err)
	}
	return e.failed(err)
}

// transmit sends a command APDU to the card. The response is received behind the space for its times, and so is not
// copied.
func (e *exchange) transmit(ctx context.Context, command []byte, arrived time.Time) error {
	if err := e.firewall.Check(command); err != nil {
		return err
	}
	if err := e.fetches(command); err != nil {
		return err
	}
	if err := e.need(ctx); err != nil {
		return err
	}
	if e.before = commandPlain; command[0]&0x10 != 0 { // ISO/IEC 7816-4 §5.4.1, and GlobalPlatform's class 90
		e.before = commandChained
	}
	if err := e.executing(); err != nil {
		return err
	}
	var space [wire.TimesSize]byte
	start := time.Now()
	payload, card, err := e.card.Transmit(ctx, append(e.payload, space[:]...), command)
	if err != nil {
		e.firewall.Saw(command, nil)
		return e.failed(err)
	}
	end := time.Now()
	e.firewall.Saw(command, payload[min(len(payload), wire.TimesSize):])
	if n := len(payload) - wire.TimesSize; n < 2 || len(payload) > wire.MaxPayload {
		return fmt.Errorf("a response APDU has %d bytes", n)
	}
	times := wire.Times{Queue: max(0, end.Sub(start)-card), Card: card, Agent: end.Sub(arrived)}
	times.Append(payload[:0])
	e.meter.Answered(end, times.Queue, card)
	e.kind, e.payload = wire.TypeAPDUResponse, payload
	return nil
}

// fetches refuses GET RESPONSE after a PIN: what is answered to that is a status word alone.
func (e *exchange) fetches(command []byte) error {
	if e.before == commandPIN && command[1] == 0xC0 {
		return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, "GET RESPONSE is not allowed after a PIN")
	}
	return nil
}

// need connects to the card if the back end has not, but never in place of a card that is gone.
func (e *exchange) need(ctx context.Context) error {
	switch {
	case e.card != nil:
		return nil
	case e.lost != nil:
		return e.lost
	}
	card, err := e.holder.cards.Open(ctx, e.tunnel.Reader, e.share)
	if err != nil {
		return err
	}
	e.card, e.used = card, true
	return nil
}

// failed returns err and, if it says that the connection to the card is of no use any more, drops it.
func (e *exchange) failed(err error) error {
	switch reason := cardbroker.ReasonOf(err); reason {
	case cardbroker.CardRemoved, cardbroker.CardReset, cardbroker.Indeterminate, cardbroker.Unavailable:
		e.leave(cardbroker.LeaveCard)
		e.lost = shown(err)
		if reason == cardbroker.Indeterminate { // the card sees nothing of what comes after it
			e.lost = cardbroker.Errorf(cardbroker.CardReset, "what became of a command is not known; connect to the card again")
		}
		e.used = reason != cardbroker.CardRemoved && reason != cardbroker.CardReset
	}
	return err
}

func (e *exchange) leave(d cardbroker.Disposition) error {
	if e.card == nil {
		return nil
	}
	card := e.card
	e.card = nil
	err := card.Close(d)
	e.used = err != nil || d == cardbroker.LeaveCard
	e.left(d, err)
	return err
}

// reset takes what the back end made of the card away from it, also from a card that it has left as it was.
func (e *exchange) reset(ctx context.Context) {
	if e.used {
		e.lost = nil
		e.need(ctx) // without a card in the reader there is nothing to reset
	}
	e.leave(cardbroker.ResetCard)
}

func (e *exchange) renew(ctx context.Context, d time.Duration) error {
	until := time.Now().Add(d)
	if err := e.holder.leases.renew(ctx, e.tunnel.ID, until); err != nil {
		return err
	}
	if err := e.noteExpires(until); err != nil {
		return err
	}
	e.kind, e.payload = wire.TypeLease, wire.AppendLease(e.payload, d)
	return nil
}

// pong answers a Ping, which stands outside the count of frames.
func (e *exchange) pong(p []byte) error {
	if len(p) != 8 {
		return invalid("Ping has %d bytes, want 8", len(p))
	}
	return e.conn.Send(wire.Header{Type: wire.TypePong}, p)
}

// send sends the answer to the last frame, for the first time or again.
func (e *exchange) send() error {
	return wire.SendFrames(e.conn, wire.Header{Type: e.kind, Seq: e.seq}, e.payload)
}

// refuse tells the back end which error ends the tunnel.
func refuse(conn Conn, seq uint64, err error) {
	conn.Send(wire.Header{Type: wire.TypeError, Seq: seq}, wire.AppendError(nil, shown(err)))
}
