// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// How long a lease waits for its back end once the connection was cut, within the lease's own time.
const (
	Grace      = time.Minute
	firstGrace = 10 * time.Second // before the first command: the back end may never have got the resume token
	greetLimit = 10 * time.Second // for the first frame of a new connection
)

// errSuperseded is told to a connection whose back end has come back over another one.
func errSuperseded() error {
	return cardbroker.Errorf(cardbroker.Conflict, "the back end has taken the lease up again over another connection")
}

// survives says whether the lease goes on when its connection has ended so. A back end that ends a tunnel, or that breaks the
// protocol, does not come back.
func (e *exchange) survives(why error) bool {
	if e.token.none() || errors.Is(why, io.EOF) {
		return false
	}
	switch cardbroker.ReasonOf(why) {
	case cardbroker.Invalid, cardbroker.TooLarge:
		return false
	case cardbroker.Forbidden:
		return len(e.next) > 0 // a superseded connection ends with the code that we gave: its other end returns it
	}
	return true
}

// cut ends the connection and tells the attendant.
func (e *exchange) cut(why error) {
	grace := Grace
	if e.seq == 1 {
		grace = firstGrace
	}
	e.grace.Store(int64(grace))
	e.current.Store(nil)
	loop.Signal(e.moved)
	e.gathering.Drop()
	discard(e.conn, why)
}

// reconnect waits for a connection over which the back end takes its lease up again, until the lease ends.
func (e *exchange) reconnect(ctx context.Context) error {
	for {
		select {
		case a := <-e.next:
			conn := newLookahead(ctx, a.conn)
			err := e.tryOver(conn, a.secret)
			if err == nil {
				return nil
			}
			discard(conn, err)
		case <-e.lease.Done():
			return context.Cause(e.lease)
		}
	}
}

// tryOver greets a new connection, unless the lease has ended, or a newer connection has come: then the attendant may have looked for
// connections to end before it could see this one.
func (e *exchange) tryOver(conn *lookahead, secret cardbroker.Secret) error {
	e.greeting.Store(conn)
	defer e.greeting.Store(nil)
	switch {
	case context.Cause(e.lease) != nil:
		return context.Cause(e.lease)
	case len(e.next) > 0:
		return errSuperseded()
	}
	return e.greet(conn, secret)
}

// open returns the connections that there are. One that is greeted becomes the current one, never the other way round: in this order
// none is missed.
func (e *exchange) open() []*lookahead {
	var open []*lookahead
	for _, at := range []*atomic.Pointer[lookahead]{&e.greeting, &e.current} {
		if conn := at.Load(); conn != nil {
			open = append(open, conn)
		}
	}
	return open
}

// greet receives Resume on a new connection and answers it.
func (e *exchange) greet(conn *lookahead, secret cardbroker.Secret) error {
	late := time.AfterFunc(greetLimit, func() { conn.Shutdown(cardbroker.Errorf(cardbroker.Timeout, "no frame came on a new connection")) })
	head, payload, err := conn.Receive()
	late.Stop()
	if err != nil {
		return err
	}
	if head.Type != wire.TypeResume || head.Reader != 0 || len(payload) != 0 {
		return invalid("the first frame on a new connection is not Resume")
	}
	if err := e.agree(head); err != nil {
		return err
	}
	if e.restored {
		e.mac = journalKey(secret, e.tunnel.ID)
	}
	left := max(0, time.Until(e.expires))
	resumed := wire.Resumed{Epoch: e.epoch(), Lease: left.Truncate(time.Second)}
	if err := conn.Send(wire.Header{Type: wire.TypeResumed}, resumed.Append(nil)); err != nil {
		return err
	}
	e.conn = conn
	e.current.Store(conn)
	loop.Signal(e.moved)
	return nil
}

// agree compares what the back end says it has sent, and has heard, with what arrived here. After a restart only frames that
// reached the card are known; one that comes after them did not, and may be executed.
func (e *exchange) agree(h wire.Header) error {
	heard, sent := h.Ack, h.Seq
	switch {
	case heard > sent || sent > heard+1:
		return invalid("Resume says that %d is sent and %d answered, want the same, or one that is not answered", sent, heard)
	case e.restored && sent > e.seq && heard >= e.seq:
		if e.seq = heard; heard == sent {
			e.seq = sent
		}
		clear(e.payload) // it has arrived
		e.kind, e.payload = wire.TypeDone, e.payload[:0]
		e.digest = [len(e.digest)]byte{}
	case sent != e.seq && (sent != e.seq+1 || heard != e.seq):
		return invalid("Resume says that %d is sent and %d answered, but the last frame here was %d", sent, heard, e.seq)
	}
	return nil
}

// attached is a connection over which a back end takes a lease up again.
type attached struct {
	conn   Conn
	secret cardbroker.Secret
}

// supersede hands a new connection to the exchange, and ends those before it.
func (e *exchange) supersede(a attached) {
	select {
	case unused := <-e.next:
		discard(unused.conn, errSuperseded())
	default:
	}
	e.next <- a // capacity 1, and only the attendant sends
	for _, old := range e.open() {
		if old.Conn != a.conn {
			old.Shutdown(errSuperseded())
		}
	}
}

// discard closes a connection that nobody reads any more.
func discard(conn Conn, why error) {
	conn.Shutdown(why)
	conn.Close()
}

// Taken is a lease that a back end may take up again.
type Taken struct {
	leases *Leases
	tunnel TunnelID
	secret cardbroker.Secret
	Reader string // its name
	Count  uint64 // how often it was taken up since that was told; 0: it is not to be told now. A back end can come back all the time
}

// Tunnel returns the tunnel that the lease began with.
func (t Taken) Tunnel() TunnelID { return t.tunnel }

// Take finds the lease that the secret of a resume token is for. Whatever is wrong with it looks alike (Unauthenticated): no such
// lease, one of another tenant, one that has ended.
func (l *Leases) Take(ctx context.Context, secret cardbroker.Secret, tenant cardbroker.Tenant) (Taken, error) {
	taken := Taken{leases: l, secret: secret}
	err := l.loop.Do(ctx, func(t *leaseTable) error {
		found := false
		for _, h := range t.held { // all of them: the time that it takes says nothing
			if secret.Matches(h.token.hash) && h.Tenant == tenant && !h.over {
				taken.tunnel, taken.Reader, found = h.Tunnel, h.Reader, true
				taken.Count = h.resumed.Refused("", time.Now())
			}
		}
		if !found {
			return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTicket, "the ticket is not valid")
		}
		return nil
	})
	return taken, err
}

// Attach gives the lease its new connection, in place of one that may still be open. It takes conn over in any case.
func (t Taken) Attach(ctx context.Context, conn Conn) error {
	var before *attached
	err := t.leases.loop.Do(ctx, func(table *leaseTable) error {
		h := table.find(t.tunnel)
		if h == nil || h.over {
			return noLease()
		}
		select {
		case unused := <-h.attach:
			before = &unused
		default:
		}
		h.attach <- attached{conn: conn, secret: t.secret} // capacity 1, and only the loop sends
		return nil
	})
	if err != nil {
		discard(conn, err)
	}
	if before != nil {
		discard(before.conn, errSuperseded())
	}
	return err
}

// setCut notes since when a lease has no connection; the zero time: it has one.
func (l *Leases) setCut(tunnel TunnelID, since time.Time) {
	l.loop.Must(func(t *leaseTable) error {
		if h := t.find(tunnel); h != nil {
			h.Cut = since
		}
		return nil
	})
}
