// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Who asks reads the answer himself, which takes half the time of a goroutine that reads for him. Between commands the
// attendant reads, so that events are seen; a command that finds it reading gets its answer from it.

const (
	maxSilent = 3 // pings that an idle holder may leave unanswered

	// The attendant waits so long, so as not to meet the next command. A timer of 10 ms, which the kernel has to heed at
	// every wait of the process, would make a command a µs dearer.
	idleAfter = 100 * time.Millisecond
)

// ask sends a frame and returns the payload of its answer, which is of type want. If ctx or the tunnel ends before the
// answer is there, the error is Indeterminate, and the tunnel is over.
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
	if err := sendFrames(t.conn, wire.Header{Type: kind, Flags: flags, Seq: t.seq, Ack: t.seq - 1}, payload); err != nil {
		t.fail(err)
		return nil, t.unanswered()
	}
	a, err := t.await()
	t.idle.Reset(idleAfter)
	switch {
	case err != nil:
		return nil, err
	case a.seq != t.seq:
		return nil, t.broken("an answer has seq %d, want %d", a.seq, t.seq)
	case a.kind == wire.TypeError:
		return nil, holderError(a.payload)
	case a.kind != want:
		return nil, t.broken("the answer to a frame of type %d has type %d", kind, a.kind)
	}
	return a.payload, nil
}

// askerLeft ends the tunnel if the asker's frame is outstanding.
func (t *Tunnel) askerLeft(why error) {
	if t.asking.Load() {
		t.fail(why)
	}
}

// await returns the answer to the frame that was just sent.
func (t *Tunnel) await() (answer, error) {
	select {
	case t.reading <- struct{}{}:
		defer func() { <-t.reading }()
		select {
		case a := <-t.answers: // the attendant read it before it left
			return a, nil
		default:
		}
		return t.receive()
	case a := <-t.answers:
		return a, nil
	case <-t.life.Done():
	}
	return answer{}, t.unanswered()
}

// receive reads up to the next answer, and tells of the events before it. The caller holds reading.
func (t *Tunnel) receive() (answer, error) {
	var a answer // as far as its frames have come
	for {
		head, payload, err := t.conn.Receive()
		if err == io.EOF {
			err = cardbroker.Errorf(cardbroker.Unavailable, "the holder of the card closed the tunnel")
		}
		if err == nil {
			t.heard.Add(1)
			if head.Seq != 0 {
				more, err := a.add(head, payload)
				if err == nil && !more {
					return a, nil
				}
				if err != nil {
					t.fail(err)
					return answer{}, t.unanswered()
				}
				continue
			}
			err = t.event(head.Type, payload)
		}
		if err != nil {
			t.fail(err)
			return answer{}, t.unanswered()
		}
	}
}

// event takes a frame that answers nothing.
func (t *Tunnel) event(kind wire.Type, payload []byte) error {
	switch kind {
	case wire.TypeCardIn:
		in, err := wire.ParseCardIn(payload)
		t.tell(CardEvent{Card: &cardbroker.Card{ATR: slices.Clone(in.ATR), Protocol: in.Protocol}})
		return err
	case wire.TypeCardOut:
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
		if a, err := t.receive(); err == nil {
			select {
			case t.answers <- a:
			default:
				t.broken("two answers to one frame")
			}
		}
		<-t.reading
	}
}

// keepAlive sends pings, for whatever between here and the holder forgets idle connections, and ends the tunnel when an
// idle holder has been silent for too long. A busy one may be: it waits for the card.
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
		if now := t.heard.Load(); now != heard || len(t.turn) > 0 {
			heard, silent = now, 0
		}
		if silent++; silent > maxSilent {
			t.fail(cardbroker.Errorf(cardbroker.Timeout, "the holder of the card is silent"))
			return nil
		}
		t.conn.Send(wire.Header{Type: wire.TypePing}, ping[:]) // a failure shows to who reads
	}
}

// fail ends the tunnel; only the first reason counts.
func (t *Tunnel) fail(why error) {
	t.end(why)
	t.conn.Shutdown(t.Err())
	t.conn.Close()
}

// broken ends the tunnel because the holder broke the protocol.
func (t *Tunnel) broken(format string, args ...any) error {
	err := cardbroker.Errorf(cardbroker.Invalid, format, args...)
	t.fail(err)
	return err
}

// unanswered is the error of a frame that was sent when the tunnel ended.
func (t *Tunnel) unanswered() error {
	return cardbroker.Wrapf(t.Err(), cardbroker.Indeterminate, "the tunnel ended before the answer; the command may have run")
}

// holderError returns the error that the holder sent.
func holderError(payload []byte) error {
	e, err := wire.ParseError(payload)
	if err != nil {
		return err
	}
	return e
}
