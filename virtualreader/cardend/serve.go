// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Serve holds a reader for the back end at the other end of c, until one of them ends it, the lease ends, or ctx does.
// It owns c and closes it. It returns nil if the back end ended the tunnel in order; else why it ended, which the back
// end has been told: Invalid if it broke the protocol, ReaderBusy if another tunnel has the reader, Forbidden or Timeout
// if the lease was revoked or expired.
func (h *Holder) Serve(ctx context.Context, c Conn, t Tunnel) error {
	conn := newLookahead(ctx, c)
	defer conn.Close()
	err := h.serve(ctx, conn, t)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	conn.Shutdown(err)
	drain(conn)
	if err != nil {
		return fmt.Errorf("tunnel %s: %w", t.ID, err)
	}
	return nil
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

func (h *Holder) serve(ctx context.Context, conn *lookahead, t Tunnel) error {
	e := newExchange(h, conn, t)
	hello, err := e.hello()
	if err != nil {
		e.refuse(1, err)
		return err
	}
	defer h.leases.release(t.ID) // also what acquire may do after ctx has ended
	lease := leaseDuration(hello.Lease)
	revoked, err := h.leases.acquire(ctx, t, lease)
	if err != nil {
		e.refuse(1, err)
		return err
	}
	if err := e.welcome(lease); err != nil {
		return err
	}
	return h.watched(ctx, e, revoked)
}

// watched runs the exchange, and beside it tells the back end of cards that come and go and of the lease's end. It
// returns why the tunnel ended, when both have.
func (h *Holder) watched(ctx context.Context, e *exchange, revoked <-chan *cardbroker.Error) error {
	group := run.New(ctx)
	lease, end := context.WithCancelCause(ctx)
	defer end(nil)
	group.Go("exchange", func(context.Context) error { return e.run(ctx, lease) }) // what the card does is not stopped half-way
	group.Go("events", func(ctx context.Context) error {
		var said *cardbroker.Card
		var err error
		if e.tunnel.Present != nil {
			said = e.tunnel.Present()
			err = e.sendPresence(said)
		}
		for err == nil {
			select {
			case <-e.tunnel.Changed:
				said, err = e.present(said)
			case why := <-revoked:
				end(why) // before anybody hears of it
				e.conn.Send(wire.Header{Type: wire.TypeRevoked}, wire.AppendError(nil, why))
				e.conn.Shutdown(why)
				return why
			case <-ctx.Done():
				e.conn.Shutdown(context.Cause(ctx))
				return nil
			}
		}
		e.conn.Shutdown(err)
		return err
	})
	return group.Wait()
}

// present tells which card is in the reader, unless that is the one that was said last, and returns it. Of one in the place
// of another it says that the other was taken out, whoever saw it.
func (e *exchange) present(said *cardbroker.Card) (*cardbroker.Card, error) {
	card := e.tunnel.Present()
	if card == said { // it was another reader's change
		return card, nil
	}
	if said != nil && card != nil {
		if err := e.sendPresence(nil); err != nil {
			return card, err
		}
	}
	return card, e.sendPresence(card)
}

func (e *exchange) sendPresence(card *cardbroker.Card) error {
	if card == nil {
		return e.conn.Send(wire.Header{Type: wire.TypeCardOut}, nil)
	}
	payload := wire.CardIn{Protocol: card.Protocol, ATR: card.ATR}.Append(nil)
	return e.conn.Send(wire.Header{Type: wire.TypeCardIn}, payload)
}
