// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Serve holds a reader for the back end at the other end of c, and of the connections over which it takes its lease up again
// ([Leases.Take]), until the back end or the lease ends, or ctx does.
// It owns c and closes it. It returns nil if the back end ended the tunnel in order; else why it ended, which the back
// end has been told: Invalid if it broke the protocol, ReaderBusy if another tunnel has the reader, Forbidden or Timeout
// if the lease was revoked or expired, or if the back end did not come back. When ctx ends the journal stays, for the next process.
func (h *Holder) Serve(ctx context.Context, c Conn, t Tunnel) error {
	e := newExchange(h, t)
	e.conn = newLookahead(ctx, c)
	err := h.serve(ctx, e)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	e.farewell(err)
	if err != nil {
		return fmt.Errorf("tunnel %s: %w", t.ID, err)
	}
	return nil
}

// farewell ends the connection, if there is one.
func (e *exchange) farewell(why error) {
	if e.conn != nil {
		e.conn.Shutdown(why)
		drain(e.conn)
		e.conn.Close()
	}
}

// drain reads until the back end has seen why the tunnel ends; Shutdown bounds it. To close at once could take the reason
// away from under it.
func drain(conn Conn) {
	for {
		if _, _, err := conn.Receive(); err != nil {
			return
		}
	}
}

func (h *Holder) serve(ctx context.Context, e *exchange) error {
	hello, err := e.hello()
	if err != nil {
		refuse(e.conn, 1, err)
		return err
	}
	lease := e.granted(hello.Lease)
	resume, err := e.begin(hello.Durability, lease)
	if err != nil {
		refuse(e.conn, 1, err)
		return err
	}
	held, err := h.leases.acquire(ctx, e.tunnel, e.since, e.expires, e.token)
	defer h.leases.release(held) // also what acquire may do after ctx has ended
	if err == nil {
		err = e.openJournal()
	}
	if err != nil {
		refuse(e.conn, 1, err)
		return err
	}
	if err := e.welcome(lease, resume); err != nil && e.token.none() { // else it may have arrived
		return err
	}
	e.current.Store(e.conn)
	return h.hold(ctx, e, held)
}

// hold runs the exchange, and beside it the attendant. It returns why the lease ended, when both have.
func (h *Holder) hold(ctx context.Context, e *exchange, held *heldLease) error {
	group := run.New(ctx)
	lease, end := context.WithCancelCause(ctx)
	defer end(nil)
	e.lease = lease
	h.leases.setShare(e.tunnel.ID, e.share)
	group.Go("exchange", func(context.Context) error { return e.run(ctx, lease) }) // what the card does is not stopped half-way
	group.Go("attend", func(ctx context.Context) error { return e.attend(ctx, held, end) })
	err := group.Wait()
	select {
	case late := <-e.next:
		discard(late.conn, err)
	default:
	}
	stays := cardbroker.ReasonOf(context.Cause(lease)) == cardbroker.Canceled // else somebody has ended the lease
	select {
	case <-held.revoked: // while ctx ended
		stays = false
	default:
	}
	e.closeJournal(stays)
	return err
}

// attend tells the back end of cards that come and go and of the lease's end, brings it back when it comes over another
// connection, and ends the lease when it does not.
func (e *exchange) attend(ctx context.Context, held *heldLease, end context.CancelCauseFunc) error {
	a := attendant{e: e, grace: time.NewTimer(Grace)}
	defer a.grace.Stop()
	a.look()
	for {
		var why *cardbroker.Error
		select {
		case <-e.moved:
			a.look()
		case <-e.tunnel.Changed:
			a.tell()
		case told := <-e.behind:
			a.look()
			a.tell()
			close(told)
		case back := <-held.attach:
			e.supersede(back)
		case <-a.grace.C:
			why = cardbroker.Errorf(cardbroker.Timeout, "the back end did not come back")
		case revoked := <-held.revoked:
			why = revoked
		case <-ctx.Done():
			a.shutdown(context.Cause(ctx))
			return nil
		}
		if why != nil {
			end(why) // before anybody hears of it
			if e.journal != nil {
				e.journal.Void() // the card may work for long yet, and this process may not live to see it
			}
			a.revoke(why)
			return why
		}
	}
}

// attendant is what attend knows.
type attendant struct {
	e     *exchange
	conn  *lookahead       // the connection that was told which card is in
	cut   bool             // there is none, and that is noted
	said  *cardbroker.Card // which that was
	grace *time.Timer      // runs while there is no connection
}

// look looks at the connection that the exchange has now.
func (a *attendant) look() {
	conn := a.e.current.Load()
	switch {
	case conn == nil && !a.cut:
		a.cut = true
		a.grace.Reset(time.Duration(a.e.grace.Load()))
		a.e.holder.leases.setCut(a.e.tunnel.ID, time.Now())
	case conn != nil && conn != a.conn:
		a.grace.Stop()
		if a.cut {
			a.e.holder.leases.setCut(a.e.tunnel.ID, time.Time{})
		}
		a.cut, a.conn = false, conn
		if a.e.tunnel.Present != nil {
			card := a.e.tunnel.Present()
			if a.said != nil && card != nil && card != a.said { // another one was put in while nobody could be told
				a.sendPresence(nil)
			}
			a.said = card
			a.sendPresence(card)
		}
	}
}

// tell tells which card is in the reader, unless that is the one that was said last. Of one in the place of another it says that
// the other was taken out, whoever saw it.
func (a *attendant) tell() {
	if a.cut || a.conn == nil || a.e.tunnel.Present == nil {
		return
	}
	card := a.e.tunnel.Present()
	if card == a.said { // it was another reader's change
		return
	}
	if a.said != nil && card != nil {
		a.sendPresence(nil)
	}
	a.said = card
	a.sendPresence(card)
}

// sendPresence sends an event. A connection that does not take it is cut, which who reads it notices.
func (a *attendant) sendPresence(card *cardbroker.Card) {
	kind, payload := wire.TypeCardOut, []byte(nil)
	if card != nil {
		kind, payload = wire.TypeCardIn, wire.CardIn{Protocol: card.Protocol, ATR: card.ATR}.Append(nil)
	}
	if err := a.conn.Send(wire.Header{Type: kind}, payload); err != nil {
		a.conn.Shutdown(err)
	}
}

// revoke tells the back end, if it is there, that the lease has ended before its time.
func (a *attendant) revoke(why *cardbroker.Error) {
	if conn := a.e.current.Load(); conn != nil {
		conn.Send(wire.Header{Type: wire.TypeRevoked}, wire.AppendError(nil, why))
	}
	a.shutdown(why)
}

// shutdown ends the connections that there are.
func (a *attendant) shutdown(why error) {
	for _, conn := range a.e.open() {
		conn.Shutdown(why)
	}
}
