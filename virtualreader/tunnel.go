// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"context"
	"encoding/hex"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// TicketReader is the id of the reader that a ticket is for.
const TicketReader = string(cardbroker.TicketReader)

// Options say how to open a tunnel. The zero value asks for a shared reader with the holder's usual lease.
type Options struct {
	Share  cardbroker.ShareMode // shared or exclusive; 0: shared
	Lease  time.Duration        // whole seconds; 0: the holder's default, five minutes
	Broker string               // one of the client's; "": the first that knows the reader
}

// Tunnel drives the card in one reader. It lasts until Close, until the lease ends, until a command's context ends before
// its answer, or until the user, the agent or the network ends it: a closed [Tunnel.Events] says so. Its methods may be
// called by any number of goroutines; they take turns.
type Tunnel struct {
	ID     string // in the logs of both sides, 32 hexadecimal digits
	Reader string // the reader's name
	Lease  time.Duration

	conn  *socket.Conn
	group *run.Group
	life  context.Context // its cause is why the tunnel has ended
	end   context.CancelCauseFunc

	turn    chan struct{} // capacity 1: held by who has a frame outstanding; guards seq and asker
	seq     uint64        // of the last frame
	asker   run.Watch     // on the context of who asked last
	asking  atomic.Bool   // his frame is outstanding: the end of his context is the tunnel's
	reading chan struct{} // capacity 1: held by who reads: the asker himself or, between commands, the attendant
	answers chan answer   // capacity 1: what the attendant read for an asker
	idle    *time.Timer   // fires when nobody has asked for idleAfter
	events  chan CardEvent
	heard   atomic.Uint64 // frames received
}

// answer is what the holder answered to the frame seq.
type answer struct {
	kind    wire.Type
	seq     uint64
	payload []byte
}

// CardEvent says that the card in the reader may be another than before.
type CardEvent struct {
	Card *cardbroker.Card // nil: none
}

// Open opens a tunnel to a reader, named by the id that [Client.List] gives or, with [TicketReader], by its ticket. A
// standing offer needs no ticket: "". Open burns the ticket, even if it fails later on. Reasons: Unauthenticated,
// ReaderUnknown, ReaderBusy, TenantDenied, RateLimited, Overloaded, Unavailable, Timeout.
func (c *Client) Open(ctx context.Context, reader, ticket string, o Options) (*Tunnel, error) {
	path := "/cb/v1/readers/" + url.PathEscape(reader) + "/tunnel"
	conn, err := c.anywhere(ctx, o.Broker, target{path: path, ticket: ticket})
	if err != nil {
		return nil, err
	}
	return newTunnel(ctx, conn, o)
}

// elsewhere says whether another broker may know more.
func elsewhere(err error) bool {
	switch cardbroker.ReasonOf(err) {
	case cardbroker.ReaderUnknown, cardbroker.NoAgent, cardbroker.Unavailable:
		return true
	case cardbroker.Unauthenticated:
		return cardbroker.RuleOf(err) == cardbroker.RuleTicket
	}
	return false
}

// newTunnel says Hello on conn, which the tunnel owns from now on.
func newTunnel(ctx context.Context, conn *socket.Conn, o Options) (*Tunnel, error) {
	t := &Tunnel{
		conn:    conn,
		turn:    make(chan struct{}, 1),
		reading: make(chan struct{}, 1),
		answers: make(chan answer, 1),
		idle:    time.NewTimer(idleAfter),
		events:  make(chan CardEvent, 1),
	}
	t.life, t.end = context.WithCancelCause(context.WithoutCancel(ctx))
	t.group = run.New(t.life)
	t.group.Go("attend", t.attend)
	t.group.Go("keep alive", t.keepAlive)
	if o.Share == 0 {
		o.Share = cardbroker.ShareShared
	}
	payload, err := t.ask(ctx, wire.TypeHello, wire.Hello{Share: o.Share, Lease: o.Lease}.Append(nil), wire.TypeWelcome)
	if err != nil {
		t.Close()
		return nil, err
	}
	welcome, err := wire.ParseWelcome(payload)
	if err != nil {
		t.Close()
		return nil, err
	}
	t.ID, t.Reader, t.Lease = hex.EncodeToString(welcome.Tunnel[:]), welcome.Reader, welcome.Lease
	return t, nil
}

// Close ends the tunnel and its lease. A card that is still connected is reset, so that nothing is left of what the back
// end did: [Tunnel.Disconnect] first leaves it otherwise.
func (t *Tunnel) Close() error {
	t.end(cardbroker.Errorf(cardbroker.Unavailable, "the tunnel is closed"))
	t.conn.Close() // a regular end, unless it has ended otherwise before
	err := t.group.Stop()
	t.turn <- struct{}{} // who has it leaves now
	t.asker.End()
	<-t.turn
	return err
}

// Events delivers what happens in the reader. It holds one event, and a newer one replaces it; it is closed when the
// tunnel has ended, and [Tunnel.Err] then says why.
func (t *Tunnel) Events() <-chan CardEvent { return t.events }

// Err returns why the tunnel has ended: Forbidden (revoked), Timeout (the lease has expired, a command's deadline has
// passed, or silence), Canceled (a command's context), Invalid (one side broke the protocol), Unavailable (closed by either
// side, or cut); nil while it lasts.
func (t *Tunnel) Err() error { return context.Cause(t.life) }
