// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

const (
	minPause    = 5 * time.Millisecond // between attempts to take a lease up again, before jitter
	maxPause    = time.Second
	attemptTime = 10 * time.Second // for one broker; and for a holder who has nothing to do
)

// resumable says whether the lease outlives its connection.
func (t *Tunnel) resumable() bool {
	w := t.welcome.Load()
	return w != nil && !w.Resume.Empty()
}

// passes says whether an error of a connection leaves the lease as it is: the connection was cut, or something on the way
// stops. A regular end is the holder's, and one that names a fault or a refusal means the tunnel.
func (t *Tunnel) passes(err error) bool {
	if !t.resumable() || t.Err() != nil || errors.Is(err, io.EOF) {
		return false
	}
	switch cardbroker.ReasonOf(err) {
	case cardbroker.Forbidden, cardbroker.Invalid, cardbroker.TooLarge:
		return false
	}
	return true
}

// lost ends the tunnel with its connection, and returns why.
func (t *Tunnel) lost(err error) error {
	if errors.Is(err, io.EOF) || cardbroker.ReasonOf(err) == cardbroker.Canceled { // Canceled is an asker's, for callers
		err = cardbroker.Errorf(cardbroker.Unavailable, "the holder of the card closed the tunnel")
	}
	t.fail(err)
	return err
}

// passing tells the holder that a connection ends, and the lease does not.
func passing() error {
	return cardbroker.Errorf(cardbroker.Unavailable, "the tunnel goes on over another connection")
}

// hangUp closes a connection, and not the lease.
func hangUp(conn *socket.Conn) {
	conn.Shutdown(passing())
	conn.Close()
}

// resume takes the lease up again over a new connection, in place of one that is cut, and sends the outstanding frame again;
// one with seq 0 is none. It tries until the grace time or the lease is over, or the tunnel. An error ends the tunnel. The
// caller has turn and reading: nobody else sends or receives meanwhile, and the attendant, who has no frame, leaves askers
// waiting for turn.
func (t *Tunnel) resume(head wire.Header, payload []byte) error {
	last, until := t.cut, time.Now().Add(t.grace())
	for {
		conn, err := t.reach(until)
		if err == nil {
			if err = t.greet(conn, head, payload); err == nil {
				t.cut = nil
				t.resumed.Add(1)
				return nil
			}
			until = time.Now().Add(t.grace()) // the holder was there
		}
		switch {
		case t.Err() != nil:
			return t.Err()
		case refused(err):
			t.fail(ended(err))
			return t.Err()
		case err == errTooLate:
			t.fail(cardbroker.Wrapf(last, cardbroker.Unavailable, "the connection was cut, and the tunnel could not be taken up again in time"))
			return t.Err()
		}
		last = err
	}
}

// grace is how long the holder keeps the lease for a back end that is away.
func (t *Tunnel) grace() time.Duration { return t.welcome.Load().Grace }

// errTooLate is the end of the time in which a lease may be taken up again.
var errTooLate = errors.New("the lease is over")

// reach makes one attempt to get a connection, after a pause. A connection says that the lease is still held: the agent looks
// for it before it brings its leg.
func (t *Tunnel) reach(until time.Time) (*socket.Conn, error) {
	if t.expires.Before(until) {
		until = t.expires
	}
	ctx, cancel := context.WithDeadline(t.life, until)
	defer cancel()
	if !t.rest(ctx) {
		return nil, errTooLate
	}
	return t.round(ctx)
}

// rest waits before an attempt; the first after an answer is made at once. It says whether there is time for one.
func (t *Tunnel) rest(ctx context.Context) bool {
	pause := t.pause
	t.pause = min(max(minPause, 2*pause), maxPause)
	if pause == 0 {
		return ctx.Err() == nil
	}
	return run.Pause(ctx, pause/2+rand.N(pause/2)) // a broker that restarts meets all of its tunnels
}

// round tries each broker once. That the ticket is refused is the agent's word, and counts at once: a broker that does not find
// the agent says otherwise. Another refusal is the broker's own, and counts only if no other broker says anything else.
func (t *Tunnel) round(ctx context.Context) (*socket.Conn, error) {
	var failed, refusal error
	for _, broker := range t.brokers {
		conn, err := t.through(ctx, broker)
		switch {
		case err == nil:
			t.brokers = first(t.brokers, broker)
			return conn, nil
		case ctx.Err() != nil:
			return nil, errTooLate
		case cardbroker.RuleOf(err) == cardbroker.RuleTicket:
			return nil, err
		case refused(err):
			refusal = err
		default:
			failed = err
		}
	}
	return nil, cmp.Or(failed, refusal)
}

func (t *Tunnel) through(ctx context.Context, broker string) (*socket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	ticket := string(t.welcome.Load().Resume.Reveal())
	return t.dial(ctx, target{broker: broker, path: "/cb/v1/readers/" + TicketReader + "/tunnel", ticket: ticket})
}

// greet makes conn the tunnel's: it says which lease goes on, and at once sends the outstanding frame again. With the answer to
// it, which comes after Resumed, that is one round trip. A holder whose card still works on the frame says nothing until then.
func (t *Tunnel) greet(conn *socket.Conn, head wire.Header, payload []byte) error {
	ctx, cancel := context.WithDeadline(t.life, t.expires)
	if head.Seq == 0 {
		ctx, cancel = context.WithTimeout(ctx, attemptTime)
	}
	defer cancel()
	unwatch := context.AfterFunc(ctx, func() { t.leave(conn) })
	err := t.again(conn, head, payload)
	if err == nil {
		t.conn.Store(conn) // from here on it is pinged
		err = t.welcomed(conn)
	}
	if !unwatch() && err == nil { // it is closed; had the tunnel ended later, fail would have closed it
		err = ctx.Err()
	}
	if err != nil {
		t.leave(conn)
	}
	return err
}

// leave closes a connection that did not become the tunnel's. If the tunnel is over, so is the lease.
func (t *Tunnel) leave(conn *socket.Conn) {
	if t.Err() == nil {
		conn.Shutdown(passing())
	}
	conn.Close()
}

// again sends what goes first on a new connection.
func (t *Tunnel) again(conn *socket.Conn, head wire.Header, payload []byte) error {
	resume := wire.Header{Type: wire.TypeResume, Seq: t.seq, Ack: t.seq}
	if head.Seq == 0 {
		return conn.Send(resume, nil)
	}
	resume.Ack = head.Ack
	if err := conn.Send(resume, nil); err != nil {
		return err
	}
	return wire.SendFrames(conn, head, payload)
}

// welcomed receives what comes first on a new connection.
func (t *Tunnel) welcomed(conn *socket.Conn) error {
	in, said, err := conn.Receive()
	if errors.Is(err, io.EOF) {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "the holder of the card ended the connection at once")
	}
	if err != nil {
		return err
	}
	t.heard.Add(1)
	switch in.Type {
	case wire.TypeResumed:
		r, err := wire.ParseResumed(said)
		if err == nil {
			t.expires = time.Now().Add(r.Lease)
		}
		return err
	case wire.TypeRevoked:
		err := holderError(said)
		t.fail(err)
		return err
	case wire.TypeError:
		return holderError(said)
	}
	return cardbroker.Errorf(cardbroker.Invalid, "the answer to a frame of type %d has type %d", wire.TypeResume, in.Type)
}

// refused says whether whoever was asked to take the lease up again will not do so later, either.
func refused(err error) bool {
	switch cardbroker.ReasonOf(err) {
	case cardbroker.Unauthenticated, cardbroker.Forbidden, cardbroker.TenantDenied, cardbroker.OriginDenied, cardbroker.CallerRefused,
		cardbroker.Invalid, cardbroker.TooLarge, cardbroker.Unsupported:
		return true
	}
	return false
}

// ended says why a tunnel whose resumption was refused is over.
func ended(err error) error {
	if cardbroker.RuleOf(err) == cardbroker.RuleTicket {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "the connection was cut, and the lease has ended meanwhile")
	}
	return fmt.Errorf("the connection was cut, and the tunnel cannot be taken up again: %w", err)
}
