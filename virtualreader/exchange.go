// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Who asks reads the answer himself, which takes half the time of a goroutine that reads for him. Between commands the
// attendant reads, so that events are seen; a command that finds it reading gets its answer from it.

const (
	maxSilent = 3 // pings that a holder may leave unanswered

	// The attendant waits so long, so as not to meet the next command. A timer of 10 ms, which the kernel has to heed at
	// every wait of the process, would make a command a µs dearer.
	idleAfter = 100 * time.Millisecond
)

// ask sends a frame and returns the payload of its answer, which is of type want. If ctx or the tunnel ends before the
// answer is there, the error is Indeterminate, and the tunnel is over. A connection that is cut meanwhile is no error: the
// frame is sent again, from the caller's own bytes, over the next one.
func (t *Tunnel) ask(ctx context.Context, kind wire.Type, payload []byte, want wire.Type) ([]byte, error) {
	return t.askWith(ctx, kind, 0, payload, want)
}

// askWith is ask with flags. The payload, and that of the answer, may be more than a frame holds.
func (t *Tunnel) askWith(ctx context.Context, kind wire.Type, flags uint16, payload []byte, want wire.Type) ([]byte, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.life.Done():
		return nil, t.Err()
	}
	if err := t.Err(); err != nil {
		return nil, err
	}
	if !t.asker.On(ctx) {
		t.asker.Move(ctx, func() { t.askerLeft(ctx.Err()) })
	}
	t.asking.Store(true)
	defer t.asking.Store(false)
	if err := ctx.Err(); err != nil { // an end that comes later is the tunnel's
		return nil, err
	}
	t.seq++
	head := wire.Header{Type: kind, Flags: flags, Seq: t.seq, Ack: t.seq - 1}
	if conn := t.conn.Load(); wire.SendFrames(conn, head, payload) != nil {
		conn.Shutdown(passing()) // who reads finds out within a second why it is of no use
	}
	a, err := t.await(head, payload)
	t.idle.Reset(idleAfter)
	if err != nil {
		return nil, err
	}
	t.pause = 0
	switch {
	case a.seq != t.seq:
		return nil, t.broken("an answer has seq %d, want %d", a.seq, t.seq)
	case a.kind == wire.TypeError:
		return nil, holderError(a.payload)
	case a.kind != want:
		return nil, t.broken("the answer to a frame of type %d has type %d", kind, a.kind)
	}
	if err := t.note(a); err != nil {
		t.fail(err)
		return nil, err
	}
	return a.payload, nil
}

// note keeps what an answer says of the lease. The caller has turn.
func (t *Tunnel) note(a answer) error {
	switch a.kind {
	case wire.TypeWelcome:
		w, err := wire.ParseWelcome(a.payload)
		if err != nil {
			return err
		}
		t.expires = time.Now().Add(w.Lease)
		t.welcome.Store(&w)
	case wire.TypeLease:
		d, err := wire.ParseLease(a.payload)
		if err != nil {
			return err
		}
		t.expires = time.Now().Add(d)
	}
	return nil
}

// askerLeft ends the tunnel if the asker's frame is outstanding.
func (t *Tunnel) askerLeft(why error) {
	if t.asking.Load() {
		t.fail(why)
	}
}

// await returns the answer to the frame that was just sent. The caller has turn.
func (t *Tunnel) await(head wire.Header, payload []byte) (answer, error) {
	select {
	case t.reading <- struct{}{}:
		defer func() { <-t.reading }()
		select {
		case a := <-t.answers: // the attendant read it before it left
			return a, nil
		default:
		}
		for {
			a, err := t.receive()
			if err == nil {
				return a, nil
			}
			if t.cut == nil || t.resume(head, payload) != nil {
				return answer{}, t.unanswered()
			}
		}
	case a := <-t.answers:
		return a, nil
	case <-t.life.Done():
	}
	return answer{}, t.unanswered()
}

// receive reads up to the next answer, and tells of the events before it. After an error either cut is set, or the tunnel is
// over. The caller has reading.
func (t *Tunnel) receive() (answer, error) {
	var a answer // as far as its frames have come
	conn := t.conn.Load()
	for t.cut == nil {
		head, payload, err := conn.Receive()
		if err != nil {
			if t.passes(err) {
				t.cut = err
				hangUp(conn)
				break
			}
			return answer{}, t.lost(err)
		}
		t.heard.Add(1)
		if head.Seq != 0 {
			more, err := a.add(head, payload)
			if err != nil {
				t.fail(err)
			}
			if err != nil || !more {
				return a, err
			}
			continue
		}
		if err := t.event(head.Type, payload); err != nil {
			t.fail(err)
			return answer{}, err
		}
	}
	return answer{}, t.cut
}

// event takes a frame that answers nothing. The caller has reading.
func (t *Tunnel) event(kind wire.Type, payload []byte) error {
	switch kind {
	case wire.TypeCardIn:
		in, err := wire.ParseCardIn(payload)
		if err != nil {
			return err
		}
		if t.card != nil && t.card.Protocol == in.Protocol && bytes.Equal(t.card.ATR, in.ATR) {
			return nil // the holder says it again, on a new connection; that it was taken out would have come before
		}
		t.card = &cardbroker.Card{ATR: slices.Clone(in.ATR), Protocol: in.Protocol}
		t.tell(CardEvent{Card: &cardbroker.Card{ATR: slices.Clone(in.ATR), Protocol: in.Protocol}})
	case wire.TypeCardOut:
		t.card = nil
		t.tell(CardEvent{})
	case wire.TypeRevoked, wire.TypeError:
		return holderError(payload)
	case wire.TypeProgress:
		return t.progressed(payload)
	case wire.TypePong:
	default:
		return cardbroker.Errorf(cardbroker.Invalid, "a frame of type %d is not an event", kind)
	}
	return nil
}

// tell puts e in place of an event that nobody has taken yet. The caller holds reading.
func (t *Tunnel) tell(e CardEvent) {
	select {
	case <-t.events:
	default:
	}
	t.events <- e
}

// attend reads between commands. It owns the end of events.
func (t *Tunnel) attend(ctx context.Context) error {
	defer close(t.events)
	defer func() { t.reading <- struct{}{} }() // for good: whoever reads has left, and nobody tells any more
	for {
		select {
		case <-t.idle.C:
		case <-ctx.Done():
			return nil
		}
		select {
		case t.reading <- struct{}{}:
		default:
			continue // an asker reads, and will set the timer again
		}
		t.attendOnce()
		<-t.reading
	}
}

// attendOnce reads an answer for an asker. If it finds that the connection is cut, it takes the lease up again, unless
// somebody asks: he does it himself, with his frame. The caller has reading.
func (t *Tunnel) attendOnce() {
	a, err := t.receive()
	if err == nil {
		select {
		case t.answers <- a:
		default:
			t.broken("two answers to one frame")
		}
		return
	}
	if t.cut == nil {
		return
	}
	select {
	case t.turn <- struct{}{}:
		t.resume(wire.Header{}, nil) // its error ends the tunnel
		<-t.turn
	default:
	}
	t.idle.Reset(idleAfter)
}

// keepAlive sends pings, for whatever between here and the holder forgets idle connections, and takes the connection for cut
// when nothing has come for too long. A busy holder may be silent, as it waits for the card: then that does no harm, and only
// a tunnel that cannot be taken up again is left as it is.
func (t *Tunnel) keepAlive(ctx context.Context) error {
	ticker := time.NewTicker(wire.PingInterval)
	defer ticker.Stop()
	var ping [8]byte
	heard, silent := t.heard.Load(), 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		resumable := t.resumable()
		if now := t.heard.Load(); now != heard || len(t.turn) > 0 && !resumable {
			heard, silent = now, 0
		}
		if silent++; silent > maxSilent {
			if !resumable {
				t.fail(cardbroker.Errorf(cardbroker.Timeout, "the holder of the card is silent"))
				return nil
			}
			silent = 0
			hangUp(t.conn.Load()) // who reads goes on from there
			continue
		}
		t.conn.Load().Send(wire.Header{Type: wire.TypePing}, ping[:]) // a failure shows to who reads
	}
}

// fail ends the tunnel; only the first reason counts. The holder is told of a broken protocol; all else is a regular end to
// it, which ends the lease.
func (t *Tunnel) fail(why error) {
	t.end(why)
	conn := t.conn.Load() // not an older one: who puts in another looks at life afterwards
	if err := t.Err(); cardbroker.ReasonOf(err) == cardbroker.Invalid {
		conn.Shutdown(err)
	}
	conn.Close()
}

// broken ends the tunnel because the holder broke the protocol.
func (t *Tunnel) broken(format string, args ...any) error {
	err := cardbroker.Errorf(cardbroker.Invalid, format, args...)
	t.fail(err)
	return err
}

// unanswered is the error of a frame that was sent when the tunnel ended.
func (t *Tunnel) unanswered() error {
	why := t.Err()
	if e, ok := errors.AsType[*cardbroker.Error](why); ok && e.Message != "" {
		return cardbroker.Wrapf(why, cardbroker.Indeterminate, "the tunnel ended before the answer; the command may have run: %s", e.Message)
	}
	return cardbroker.Wrapf(why, cardbroker.Indeterminate, "the tunnel ended before the answer; the command may have run")
}

// holderError returns the error that the holder sent.
func holderError(payload []byte) error {
	e, err := wire.ParseError(payload)
	if err != nil {
		return err
	}
	return e
}
