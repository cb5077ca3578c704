// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"cmp"
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

// Options say how to open a tunnel. The zero value asks for a shared reader with the holder's usual lease, which outlives
// cut connections and the end of any program.
type Options struct {
	Share  cardbroker.ShareMode // shared or exclusive; 0: shared
	Lease  time.Duration        // whole seconds; 0: the holder's default, five minutes
	Broker string               // one of the client's; "": the first that knows the reader

	// What the holder's record of commands outlives: crash, or power, which costs a write to the disk for each command.
	// 0: crash.
	Durability cardbroker.Durability
	Volatile   bool // no record is kept: the lease ends with its connection
}

// Tunnel drives the card in one reader. It lasts until Close, until the lease ends, until a command's context ends before
// its answer, or until the user or the agent ends it: a closed [Tunnel.Events] says so. A connection that is cut is not the
// end: the tunnel takes its lease up again over another one, and whoever asks waits. Its methods may be called by any number
// of goroutines; they take turns.
type Tunnel struct {
	ID     string // in the logs of both sides, 32 hexadecimal digits
	Reader string // the reader's name
	Lease  time.Duration

	dial    dialer
	group   *run.Group
	life    context.Context // its cause is why the tunnel has ended
	end     context.CancelCauseFunc
	welcome atomic.Pointer[wire.Welcome] // how the lease may be taken up again; nil: not known yet
	resumed atomic.Uint64                // how often it was
	asking  atomic.Bool                  // the asker's frame is outstanding: the end of his context is the tunnel's
	heard   atomic.Uint64                // frames received
	scripts chan struct{}                // capacity 1: of who runs a script, whose parts follow each other
	steps   atomic.Pointer[func(int)]    // is told of that script's progress; nil: nobody is
	answers chan answer                  // capacity 1: what the attendant read for an asker
	idle    *time.Timer                  // fires when nobody has asked for idleAfter
	events  chan CardEvent

	// Who has turn sends over conn, who has reading receives from it, and who has both may put another connection in its place.
	// An asker takes turn, then reading. The attendant has reading first, and takes turn only if nobody has it, so that neither
	// waits for the other. Anybody may ping over conn and close it.
	conn    atomic.Pointer[socket.Conn]
	turn    chan struct{} // capacity 1: of who has a frame outstanding
	reading chan struct{} // capacity 1: of who reads: the asker himself or, between commands, the attendant

	// Of who has turn.
	seq     uint64        // of the last frame
	asker   run.Watch     // on the context of who asked last
	expires time.Time     // the lease, as far as is known here
	brokers []string      // that may lead to the holder, the one of conn first
	pause   time.Duration // before the next attempt to take the lease up; 0: there was an answer since the last one

	// Of who has reading.
	cut  error            // why nothing comes over conn any more; nil: it is good
	card *cardbroker.Card // that was told of last; nil: none
}

// dialer opens the WebSocket of a tunnel.
type dialer func(ctx context.Context, to target) (*socket.Conn, error)

// answer is what the holder answered to the frame seq.
type answer struct {
	kind    wire.Type
	seq     uint64
	payload []byte
}

// CardEvent says which card is in the reader now. One that comes after another is in its place, though no event between them
// may say so.
type CardEvent struct {
	Card *cardbroker.Card // nil: none
}

// Open opens a tunnel to a reader, named by the id that [Client.List] gives or, with [TicketReader], by its ticket. A
// standing offer needs no ticket: "". Open asks one broker after the other, until one knows of the reader. It burns the
// ticket, even if it fails later on. Reasons: Unauthenticated, ReaderUnknown, ReaderBusy, TenantDenied, RateLimited,
// Overloaded, Unavailable, Timeout; Invalid for options that do not fit.
func (c *Client) Open(ctx context.Context, reader, ticket string, o Options) (*Tunnel, error) {
	hello, err := o.hello()
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, to target) (*socket.Conn, error) { return c.dial(ctx, c.tunnels, to) }
	path := "/cb/v1/readers/" + url.PathEscape(reader) + "/tunnel"
	conn, broker, err := c.anywhere(ctx, o.Broker, target{path: path, ticket: ticket})
	if err != nil {
		return nil, err
	}
	return newTunnel(ctx, conn, hello, dial, first(c.brokers, broker))
}

// hello returns what the options ask the holder for.
func (o Options) hello() (wire.Hello, error) {
	h := wire.Hello{Share: cmp.Or(o.Share, cardbroker.ShareShared), Lease: o.Lease, Durability: o.Durability}
	switch {
	case o.Volatile && o.Durability != cardbroker.DurabilityNone:
		return h, cardbroker.Errorf(cardbroker.Invalid, "a tunnel is volatile or durable, not both")
	case !o.Volatile && o.Durability == cardbroker.DurabilityNone:
		h.Durability = cardbroker.DurabilityCrash
	}
	return h, nil
}

// first returns the brokers with this one at the front.
func first(brokers []string, broker string) []string {
	ordered := []string{broker}
	for _, other := range brokers {
		if other != broker {
			ordered = append(ordered, other)
		}
	}
	return ordered
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
func newTunnel(ctx context.Context, conn *socket.Conn, hello wire.Hello, dial dialer, brokers []string) (*Tunnel, error) {
	t := &Tunnel{
		dial:    dial,
		turn:    make(chan struct{}, 1),
		reading: make(chan struct{}, 1),
		answers: make(chan answer, 1),
		idle:    time.NewTimer(idleAfter),
		events:  make(chan CardEvent, 1),
		brokers: brokers,
		scripts: make(chan struct{}, 1),
	}
	t.conn.Store(conn)
	t.life, t.end = context.WithCancelCause(context.WithoutCancel(ctx))
	t.group = run.New(t.life)
	t.group.Go("attend", t.attend)
	t.group.Go("keep alive", t.keepAlive)
	_, err := t.ask(ctx, wire.TypeHello, hello.Append(nil), wire.TypeWelcome)
	if err != nil {
		if cardbroker.ReasonOf(err) == cardbroker.Indeterminate { // no command was sent
			err = t.Err()
		}
		t.Close()
		return nil, err
	}
	w := t.welcome.Load()
	t.ID, t.Reader, t.Lease = hex.EncodeToString(w.Tunnel[:]), w.Reader, w.Lease
	return t, nil
}

// Close ends the tunnel and its lease. A card that is still connected is reset, so that nothing is left of what the back
// end did: [Tunnel.Disconnect] first leaves it otherwise. While the connection is cut nobody can be told, and the lease ends
// with its grace time.
func (t *Tunnel) Close() error {
	t.end(cardbroker.Errorf(cardbroker.Unavailable, "the tunnel is closed"))
	t.conn.Load().Close() // a regular end, unless it has ended otherwise before
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
// side, or cut and not taken up again in time), or the reason why a broker refused to take it up again; nil while it lasts.
func (t *Tunnel) Err() error { return context.Cause(t.life) }

// Resumed returns how often the connection was cut and the lease taken up again over another one.
func (t *Tunnel) Resumed() uint64 { return t.resumed.Load() }
