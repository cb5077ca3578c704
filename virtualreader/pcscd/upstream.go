// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"context"

	"github.com/cardbroker/cardbroker"
)

// upstream is the server's own connection to a card.
type upstream struct {
	card   Card   // nil: none
	epoch  uint64 // of the reader, when it was opened
	direct bool   // to the reader alone
	begun  bool   // it has a transaction
	doubt  bool   // or may have lost it: the card was reset, or the end failed
}

// end ends the transaction and does d with the card.
func (up *upstream) end(ctx context.Context, d cardbroker.Disposition) error {
	err := up.card.End(ctx, d)
	up.begun = err != nil
	up.doubt = err != nil
	return err
}

// open connects to the card, unless that was done. For others than direct handles it has to be a connection to the card.
func (s *Server) open(ctx context.Context, r *reader, share cardbroker.ShareMode) error {
	direct := share == cardbroker.ShareDirect
	epoch := r.epoch.Load()
	if r.up.card != nil && r.up.epoch == epoch && (direct || !r.up.direct) {
		return nil
	}
	s.close(r, cardbroker.LeaveCard)
	if !direct {
		share = cardbroker.ShareShared // exclusive is a matter of this server's clients
	}
	card, err := s.cfg.Source.Connect(ctx, r.name, share)
	if err != nil {
		return err
	}
	r.up = upstream{card: card, epoch: epoch, direct: direct}
	return nil
}

// close ends the connection to the card, if there is one.
func (s *Server) close(r *reader, d cardbroker.Disposition) {
	card := r.up.card
	r.up = upstream{}
	if card == nil {
		return
	}
	if err := card.Disconnect(s.last, d); err != nil {
		s.cfg.Log.Debug("a card was not disconnected in order", "reader", r.name, "err", err)
	}
}

// match makes the card's transaction one with that of the clients: it has one while one of them has.
func (s *Server) match(ctx context.Context, r *reader) error {
	up := &r.up
	held := r.holder.Load() != nil
	if up.card == nil || up.direct || held == up.begun && !up.doubt {
		return nil
	}
	if up.begun {
		doubt := up.doubt
		if err := up.end(ctx, cardbroker.LeaveCard); err != nil && !doubt {
			return err
		}
	}
	up.begun, up.doubt = false, false
	if !held {
		return nil
	}
	if err := up.card.Begin(ctx); err != nil {
		return err
	}
	up.begun = true
	return nil
}

// reset does d, which does not leave the card as it is, with a card that stays connected. Its transaction, if it has one,
// has ended then.
func (s *Server) reset(ctx context.Context, r *reader, d cardbroker.Disposition) error {
	up := &r.up
	if up.card == nil || up.direct {
		return nil
	}
	if !up.begun {
		if err := up.card.Begin(ctx); err != nil {
			return err
		}
	}
	return up.end(ctx, d)
}

// failed takes the consequences of an error of the card and returns its code. The caller has the turn.
func (s *Server) failed(r *reader, err error) uint32 {
	mark := success
	switch cardbroker.ReasonOf(err) {
	case cardbroker.CardReset:
		r.up.doubt = true
		mark = resetCard
	case cardbroker.Indeterminate, cardbroker.Timeout, cardbroker.Canceled: // nobody knows what the card has seen
		mark = resetCard
	case cardbroker.CardRemoved, cardbroker.CardAbsent, cardbroker.ReaderUnknown, cardbroker.Unavailable:
		s.close(r, cardbroker.LeaveCard)
		mark = removedCard
	}
	if mark != success {
		s.do(func(st *state) { st.lose(r, mark) })
	}
	return Code(err)
}

// closeStale ends, when its turn comes, the connection to a card that was removed. It is called with the state.
func (s *Server) closeStale(r *reader) {
	s.group.Go("close card", func(ctx context.Context) error {
		if r.await(ctx) {
			if r.up.epoch != r.epoch.Load() {
				s.close(r, cardbroker.LeaveCard)
			}
			r.leave()
		}
		return nil
	})
}
