// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"context"

	"github.com/cardbroker/cardbroker"
)

// Calls about transactions.

// begin begins a transaction, or leaves that until another client's has ended.
func (c *client) begin(ctx context.Context, h *handle, body []byte) error {
	var q *request
	var code uint32
	c.server.do(func(st *state) { q, code = st.begin(h) })
	switch {
	case code != success:
	case q == nil:
		code = c.began(ctx, h)
	case c.holds():
		return c.beginAgain(ctx, q, body)
	default:
		return c.wait(q, body, holdLimit)
	}
	return c.answer(body, 4, code)
}

// holds says whether a handle of this client has a transaction. Then a wait could be for a thread of the client that has
// to wait itself.
func (c *client) holds() bool {
	for _, h := range c.handles {
		if h.reader.holder.Load() == h {
			return true
		}
	}
	return false
}

// beginAgain tells the client at once to ask again.
func (c *client) beginAgain(ctx context.Context, q *request, body []byte) error {
	c.pending = &pending{request: q, message: append([]byte(nil), body...)}
	return c.putOff(ctx)
}

// began carries a transaction that the client has now to the card.
func (c *client) began(ctx context.Context, h *handle) uint32 {
	s, r := c.server, h.reader
	if h.begun.Load() > 1 {
		return success
	}
	if !r.await(ctx) {
		s.do(func(st *state) { st.end(h) })
		return systemCancelled
	}
	defer r.leave()
	code := h.trouble.Load() // the card may have been reset or removed while this client waited for its turn
	if code == success {
		err := s.match(ctx, r)
		if err == nil {
			return success
		}
		code = s.failed(r, err)
	}
	s.do(func(st *state) { st.end(h) })
	if err := s.match(ctx, r); err != nil {
		s.failed(r, err)
	}
	return code
}

// end ends a transaction and does d with the card.
func (c *client) end(ctx context.Context, h *handle, d cardbroker.Disposition) uint32 {
	s, r := c.server, h.reader
	if d > cardbroker.EjectCard {
		return invalidValue
	}
	if code := h.trouble.Load(); code != success {
		return code
	}
	if r.holder.Load() != h || h.begun.Load() == 0 {
		return notTransacted
	}
	if d == cardbroker.LeaveCard && (h.begun.Load() > 1 || h.share == cardbroker.ShareExclusive) {
		s.do(func(st *state) { st.end(h) })
		return success
	}
	if !r.await(ctx) {
		return systemCancelled
	}
	defer r.leave()
	code := success
	if err := s.endUpstream(ctx, r, d); err != nil {
		code = s.failed(r, err)
	}
	s.do(func(st *state) {
		if code == success && d != cardbroker.LeaveCard {
			st.reset(r, nil)
		}
		st.end(h)
	})
	if r.holder.Load() == h { // within another transaction, or exclusive
		if err := s.match(ctx, r); err != nil && code == success {
			code = s.failed(r, err)
		}
	}
	return code
}

// endUpstream ends the card's transaction and does d with the card.
func (s *Server) endUpstream(ctx context.Context, r *reader, d cardbroker.Disposition) error {
	switch {
	case d != cardbroker.LeaveCard:
		return s.reset(ctx, r, d)
	case !r.up.begun:
		return nil
	}
	return r.up.end(ctx, d)
}
