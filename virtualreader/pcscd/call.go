// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"context"

	"github.com/cardbroker/cardbroker"
)

// Calls that change who uses a reader.

// connect makes a handle, or leaves that until another client's transaction has ended.
func (c *client) connect(ctx context.Context, body []byte) error {
	const atShare, atHandle, atCode = 4 + nameSize, 4 + nameSize + 8, 4 + nameSize + 16
	want := connectRequest{name: text(body[4 : 4+nameSize]), share: cardbroker.ShareMode(get(body, atShare))}
	protocols := get(body, atShare+4)
	put(body, atHandle, 0)
	put(body, atHandle+4, 0)
	if code := c.mayConnect(get(body, 0), want.share, protocols); code != success {
		return c.answer(body, atCode, code)
	}
	var h *handle
	var q *request
	code := serviceStopped
	c.server.do(func(st *state) { h, q, code = st.connect(c, want) })
	if q != nil {
		return c.wait(q, body, 0)
	}
	if code != success {
		return c.answer(body, atCode, code)
	}
	protocol, code := c.join(ctx, h, protocols)
	if code != success {
		c.drop(ctx, h, cardbroker.LeaveCard)
		return c.answer(body, atCode, code)
	}
	c.handles[h.id] = h
	put(body, atHandle, h.id)
	put(body, atHandle+4, protocol)
	return c.answer(body, atCode, success)
}

// mayConnect checks a request to connect.
func (c *client) mayConnect(context uint32, share cardbroker.ShareMode, protocols uint32) uint32 {
	switch own := c.context.Load(); {
	case own == 0:
		return invalidHandle
	case own != context:
		return invalidValue
	case len(c.handles) >= maxHandles:
		return noMemory
	}
	return checkMode(share, protocols)
}

// checkMode checks a share mode and what a client wants of protocols: T=0, T=1 or either. Raw is for cards that are none.
func checkMode(share cardbroker.ShareMode, protocols uint32) uint32 {
	switch {
	case share < cardbroker.ShareExclusive || share > cardbroker.ShareDirect:
		return invalidValue
	case share != cardbroker.ShareDirect && wanted(protocols) == 0:
		return protoMismatch
	}
	return success
}

// anyProtocol is SCARD_PROTOCOL_ANY of old programs.
const anyProtocol = 0x1000

// wanted returns the protocols among those that a client wants.
func wanted(protocols uint32) uint32 {
	const either = uint32(cardbroker.ProtocolT0 | cardbroker.ProtocolT1)
	if protocols&anyProtocol != 0 {
		return either
	}
	return protocols & either
}

// join connects a new handle to the card and returns the protocol.
func (c *client) join(ctx context.Context, h *handle, protocols uint32) (protocol, code uint32) {
	r := h.reader
	if h.share == cardbroker.ShareDirect {
		return uint32(cardbroker.ProtocolUndefined), success
	}
	if !r.take(ctx) {
		return 0, sharingViolation
	}
	defer r.leave()
	if code := h.trouble.Load(); code != success { // the card was removed meanwhile
		return 0, code
	}
	return c.negotiate(ctx, h, h.share, protocols)
}

// negotiate opens the card, if need be, and returns its protocol. The caller has the turn.
func (c *client) negotiate(ctx context.Context, h *handle, share cardbroker.ShareMode, protocols uint32) (protocol, code uint32) {
	s, r := c.server, h.reader
	if share == cardbroker.ShareDirect {
		return uint32(cardbroker.ProtocolUndefined), success
	}
	err := s.open(ctx, r, share)
	if err == nil {
		err = s.match(ctx, r)
	}
	if err != nil {
		return 0, s.failed(ctx, r, err)
	}
	protocol = uint32(r.up.card.Info().Protocol)
	if protocol&wanted(protocols) == 0 {
		return 0, protoMismatch
	}
	if r.protocol.Load() != protocol {
		s.do(func(st *state) {
			r.protocol.Store(protocol)
			st.changed = true
		})
	}
	return protocol, success
}

// disconnect ends a handle.
func (c *client) disconnect(ctx context.Context, h *handle, d cardbroker.Disposition) uint32 {
	if d > cardbroker.EjectCard {
		return invalidValue
	}
	if d != cardbroker.LeaveCard && h.usable() == sharingViolation { // a reset would disturb the other's transaction
		return sharingViolation
	}
	delete(c.handles, h.id)
	c.drop(ctx, h, d)
	return success
}

// drop ends a handle and does d with the card, unless that was reset or removed before. The last handle's end is that of
// the connection to the card.
func (c *client) drop(ctx context.Context, h *handle, d cardbroker.Disposition) {
	s, r := c.server, h.reader
	delete(c.handles, h.id)
	if h.share == cardbroker.ShareDirect && h.trouble.Load() != success {
		d = cardbroker.LeaveCard
	}
	has := r.await(ctx)
	if has {
		defer r.leave()
	}
	held := r.holder.Load() == h
	alone := false
	s.do(func(*state) { alone = len(r.handles) == 1 })
	if has && !alone && h.trouble.Load() == success {
		var err error
		switch {
		case d != cardbroker.LeaveCard && (held || r.holder.Load() == nil):
			err = s.reset(ctx, r, d)
			s.do(func(st *state) { r.mark(resetCard, nil); st.changed = true })
		case held && r.up.begun:
			r.up.begun = false
			err = r.up.card.End(ctx, cardbroker.LeaveCard)
		}
		if err != nil {
			s.failed(ctx, r, err)
		}
	}
	last := false
	s.do(func(st *state) { last = st.disconnect(h) })
	if has && last {
		s.close(ctx, r, d)
	}
}

// reconnect makes a handle good again after a reset or a removal, and may itself reset the card.
func (c *client) reconnect(ctx context.Context, h *handle, body []byte) error {
	share, protocols := cardbroker.ShareMode(get(body, 4)), get(body, 8)
	d := cardbroker.Disposition(get(body, 12))
	protocol := uint32(cardbroker.ProtocolUndefined)
	code := checkMode(share, protocols)
	if d > cardbroker.UnpowerCard {
		code = invalidValue
	}
	if code == success {
		protocol, code = c.rejoin(ctx, h, rejoining{share: share, protocols: protocols, disposition: d})
	}
	put(body, 16, protocol)
	return c.answer(body, 20, code)
}

// rejoining is what a client asks for when it reconnects.
type rejoining struct {
	share       cardbroker.ShareMode
	protocols   uint32
	disposition cardbroker.Disposition
}

func (c *client) rejoin(ctx context.Context, h *handle, want rejoining) (protocol, code uint32) {
	s, r := c.server, h.reader
	if h.usable() == sharingViolation || !r.take(ctx) {
		return 0, sharingViolation
	}
	defer r.leave()
	if h.usable() == sharingViolation {
		return 0, sharingViolation
	}
	code = serviceStopped
	s.do(func(st *state) { code = st.checkReconnect(h, want.share) })
	if code != success {
		return 0, code
	}
	stale := r.up.epoch != r.epoch.Load()
	if want.disposition != cardbroker.LeaveCard && r.up.card != nil && !stale {
		err := s.reset(ctx, r, want.disposition)
		if err != nil && cardbroker.ReasonOf(err) != cardbroker.CardReset { // it was reset, which is what is wanted
			return 0, s.failed(ctx, r, err)
		}
		s.do(func(st *state) { r.mark(resetCard, h); st.changed = true })
	}
	if protocol, code = c.negotiate(ctx, h, want.share, want.protocols); code != success {
		return 0, code
	}
	epoch := r.up.epoch
	s.do(func(st *state) { code = st.reconnect(h, want.share, epoch) })
	if code != success {
		return 0, code
	}
	if err := s.match(ctx, r); err != nil {
		return 0, s.failed(ctx, r, err)
	}
	return protocol, success
}

// begin begins a transaction, or leaves that until another client's has ended.
func (c *client) begin(ctx context.Context, h *handle, body []byte) error {
	var q *request
	code := serviceStopped
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
	if err := s.match(ctx, r); err != nil {
		s.do(func(st *state) { st.end(h) })
		return s.failed(ctx, r, err)
	}
	return h.trouble.Load() // the card may have been removed
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
	if d == cardbroker.LeaveCard && h.begun.Load() > 1 {
		s.do(func(st *state) { st.end(h) })
		return success
	}
	if !r.await(ctx) {
		return systemCancelled
	}
	defer r.leave()
	code := success
	if err := s.endUpstream(ctx, r, d); err != nil {
		code = s.failed(ctx, r, err)
	}
	s.do(func(st *state) {
		if d != cardbroker.LeaveCard {
			r.mark(resetCard, nil)
			st.changed = true
		}
		st.end(h)
	})
	if r.holder.Load() == h { // within another transaction, or exclusive
		if err := s.match(ctx, r); err != nil && code == success {
			code = s.failed(ctx, r, err)
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
	r.up.begun, r.up.doubt = false, false
	return r.up.card.End(ctx, d)
}
