// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
)

const (
	ticketLife = 5 * time.Minute // from an offer to its tunnel
	maxOffers  = 64              // at a time: a page cannot fill the memory
)

// offer is a reader that the user lets a tenant have: open until its ticket is used or expires, then held by a tunnel.
type offer struct {
	hash    [32]byte // of the ticket's secret
	tenant  cardbroker.Tenant
	name    string              // of the reader
	id      cardbroker.ReaderID // the tenant's
	expires time.Time           // of the ticket
	origin  cardbroker.Origin   // of the web page that offered it; empty: a program of the user
	tunnel  string              // that burnt the ticket; empty: still open

	standing bool // machine policy makes it; there is no ticket
}

// desk mints, checks and burns tickets. Its loop is the only one that touches them.
type desk struct {
	loop    *loop.Loop[*deskState]
	state   *deskState // owned by the loop
	view    atomic.Pointer[[]offer]
	changed chan struct{} // capacity 1: the view is new
}

type deskState struct {
	offers  []*offer // oldest first
	closed  error    // why there are none to be had; nil: there are
	changed bool
}

func newDesk() *desk {
	d := &desk{loop: loop.New[*deskState](), state: &deskState{}, changed: make(chan struct{}, 1)}
	d.view.Store(&[]offer{})
	return d
}

// Run owns the offers until ctx ends.
func (d *desk) Run(ctx context.Context) error { return d.loop.Run(ctx, d) }

// Begin returns the state itself: commands check before they change it, and nothing can fail after them.
func (d *desk) Begin() *deskState { return d.state }

// Commit publishes the offers and says so.
func (d *desk) Commit(_ context.Context, s *deskState) error {
	if !s.changed {
		return nil
	}
	s.changed = false
	view := make([]offer, len(s.offers))
	for i, o := range s.offers {
		view[i] = *o
	}
	d.view.Store(&view)
	loop.Signal(d.changed)
	return nil
}

// Deadline is when the next open offer expires.
func (d *desk) Deadline() (next time.Time) {
	for _, o := range d.state.offers {
		if o.tunnel == "" && (next.IsZero() || o.expires.Before(next)) {
			next = o.expires
		}
	}
	return next
}

// Tick drops the offers whose tickets have expired.
func (d *desk) Tick(s *deskState, now time.Time) {
	s.drop(func(o *offer) bool { return o.tunnel == "" && !now.Before(o.expires) })
}

// mint makes an offer and returns the secret of its ticket, which is kept nowhere else.
func (d *desk) mint(ctx context.Context, o offer) (cardbroker.Secret, time.Time, error) {
	secret := cardbroker.RandomSecret()
	o.hash, o.expires = secret.Hash(), time.Now().Add(ticketLife)
	return secret, o.expires, d.loop.Do(ctx, func(s *deskState) error {
		if s.closed != nil {
			return s.closed
		}
		if len(s.offers) >= maxOffers {
			return cardbroker.Errorf(cardbroker.RateLimited, "%d offers are open already; wait until one is used or expires", maxOffers)
		}
		s.offers, s.changed = append(s.offers, &o), true
		return nil
	})
}

// tunnelWish is what a back end wants a tunnel for.
type tunnelWish struct {
	id     string // of the tunnel
	tenant cardbroker.Tenant
	reader cardbroker.ReaderID       // TicketReader: the ticket's own
	taken  func(reader string) error // ReaderBusy: somebody uses the reader of that name; touches memory only
}

// burn uses up the ticket with that secret. A ticket of another tenant is not touched, nor is one whose reader is held
// (ReaderBusy). All that is wrong with a ticket looks alike (Unauthenticated).
func (d *desk) burn(ctx context.Context, secret cardbroker.Secret, wish tunnelWish) (offer, error) {
	var burnt offer
	err := d.loop.Do(ctx, func(s *deskState) error {
		o := s.find(secret, wish, time.Now())
		if o == nil {
			return refuseTicket()
		}
		if err := wish.taken(o.name); err != nil {
			return err
		}
		o.tunnel, s.changed = wish.id, true
		burnt = *o
		return nil
	})
	return burnt, err
}

// find returns the open offer that the secret is for. It looks at all of them: the time it takes says nothing of which
// one fits.
func (s *deskState) find(secret cardbroker.Secret, wish tunnelWish, now time.Time) (found *offer) {
	for _, o := range s.offers {
		if secret.Matches(o.hash) && o.tenant == wish.tenant && o.tunnel == "" && now.Before(o.expires) &&
			(wish.reader == cardbroker.TicketReader || wish.reader == o.id) {
			found = o
		}
	}
	return found
}

// close voids all open tickets, and mints none until the desk is open again.
func (d *desk) close(why error) {
	d.loop.Must(func(s *deskState) error {
		s.closed = why
		s.drop(func(o *offer) bool { return o.tunnel == "" })
		return nil
	})
}

// open ends what close began.
func (d *desk) open() {
	d.loop.Must(func(s *deskState) error {
		s.closed = nil
		return nil
	})
}

// finish forgets the offer that the tunnel used.
func (d *desk) finish(tunnel string) {
	d.loop.Must(func(s *deskState) error {
		s.drop(func(o *offer) bool { return o.tunnel == tunnel })
		return nil
	})
}

// withdraw forgets the offers that are unwanted and not used yet. unwanted touches memory only.
func (d *desk) withdraw(unwanted func(offer) bool) {
	d.loop.Must(func(s *deskState) error { // fails only when all ends
		s.drop(func(o *offer) bool { return o.tunnel == "" && unwanted(*o) })
		return nil
	})
}

func (s *deskState) drop(unwanted func(*offer) bool) {
	kept := s.offers[:0]
	for _, o := range s.offers {
		if unwanted(o) {
			s.changed = true
			continue
		}
		kept = append(kept, o)
	}
	clear(s.offers[len(kept):])
	s.offers = kept
}

// refuseTicket is the one answer to every ticket that is not good.
func refuseTicket() error {
	return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTicket, "the ticket is not valid")
}
