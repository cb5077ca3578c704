// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"context"

	"github.com/cardbroker/cardbroker"
)

// Calls that begin and end the use of a reader.

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
	var code uint32
	for range 2 { // again if the card had been replaced already: the client wants the one that is in now
		var h *handle
		var q *request
		c.server.do(func(st *state) { h, q, code = st.connect(c, want) })
		if q != nil {
			return c.wait(q, body, 0)
		}
		if code != success {
			break
		}
		var protocol uint32
		if protocol, code = c.join(ctx, h, protocols); code == success {
			c.handles[h.id] = h
			put(body, atHandle, h.id)
			put(body, atHandle+4, protocol)
			break
		}
		c.drop(ctx, h, cardbroker.LeaveCard)
		if code != removedCard {
			break
		}
	}
	return c.answer(body, atCode, code)
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

// agree returns the card's protocol, if the client wants that.
func agree(protocol, protocols uint32) (uint32, uint32) {
	if protocol&wanted(protocols) == 0 {
		return 0, protoMismatch
	}
	return protocol, success
}

// join connects a new handle to the card and returns the protocol.
func (c *client) join(ctx context.Context, h *handle, protocols uint32) (protocol, code uint32) {
	r := h.reader
	if protocol := r.protocol.Load(); protocol != uint32(cardbroker.ProtocolUndefined) && h.share == cardbroker.ShareShared {
		return agree(protocol, protocols) // others are connected: no need to wait for what the card is at
	}
	if h.share == cardbroker.ShareDirect {
		return uint32(cardbroker.ProtocolUndefined), success
	}
	if !r.await(ctx) {
		return 0, systemCancelled
	}
	defer r.leave()
	if code := h.trouble.Load(); code != success { // the card was removed meanwhile
		return 0, code
	}
	if protocol, code = c.negotiate(ctx, h, h.share, protocols); code != success {
		return 0, code
	}
	if code := h.trouble.Load(); code != success && code != resetCard { // nor is it the card that was connected to
		return 0, code
	}
	return protocol, success
}

// negotiate opens the card, if need be, and returns its protocol. The caller has the turn.
func (c *client) negotiate(ctx context.Context, h *handle, share cardbroker.ShareMode, protocols uint32) (protocol, code uint32) {
	s, r := c.server, h.reader
	if share == cardbroker.ShareDirect {
		return uint32(cardbroker.ProtocolUndefined), success
	}
	if err := s.open(ctx, r, share); err != nil {
		return 0, Code(err)
	}
	if err := s.match(ctx, r); err != nil {
		return 0, s.failed(r, err)
	}
	protocol = uint32(r.up.card.Info().Protocol)
	if protocol, code = agree(protocol, protocols); code != success {
		return 0, code
	}
	if r.protocol.Load() != protocol {
		s.do(func(st *state) {
			if r.up.epoch == r.epoch.Load() { // else the card was removed meanwhile
				r.protocol.Store(protocol)
				st.changed = true
			}
		})
	}
	return protocol, success
}

// disconnect ends a handle.
func (c *client) disconnect(ctx context.Context, h *handle, d cardbroker.Disposition) uint32 {
	if d > cardbroker.EjectCard {
		return invalidValue
	}
	has := h.reader.await(ctx)
	if has {
		defer h.reader.leave()
	}
	if d != cardbroker.LeaveCard && h.usable() == sharingViolation { // a reset would disturb the other's transaction
		return sharingViolation
	}
	c.dropNow(ctx, h, d, has)
	return success
}

// drop ends a handle and does d with the card.
func (c *client) drop(ctx context.Context, h *handle, d cardbroker.Disposition) {
	has := h.reader.await(ctx)
	if has {
		defer h.reader.leave()
	}
	c.dropNow(ctx, h, d, has)
}

// dropNow is drop once the client has its turn. (It may not get it at the end of the server: then it touches no card.) What
// d asks for is not done to a card that was removed. The last handle's end is that of the connection to the card.
func (c *client) dropNow(ctx context.Context, h *handle, d cardbroker.Disposition, has bool) {
	s, r := c.server, h.reader
	delete(c.handles, h.id)
	if trouble := h.trouble.Load(); trouble != success && trouble != resetCard {
		d = cardbroker.LeaveCard
	}
	if held := r.holder.Load() == h; has && (held || d != cardbroker.LeaveCard) {
		s.endOwn(ctx, h, d)
	}
	last := false
	s.do(func(st *state) { last = st.disconnect(h) })
	if has && last {
		s.close(r, d)
	}
}

// endOwn ends the transaction of a handle that is going to be dropped, and does d with the card, where that stays connected
// for others. The caller has the turn.
func (s *Server) endOwn(ctx context.Context, h *handle, d cardbroker.Disposition) {
	r := h.reader
	alone := false
	s.do(func(*state) { alone = len(r.handles) == 1 })
	if alone {
		return
	}
	if err := s.endUpstream(ctx, r, d); err != nil {
		s.failed(r, err)
	} else if d != cardbroker.LeaveCard {
		s.do(func(st *state) { st.reset(r, h) })
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
	if h.usable() == sharingViolation {
		return 0, sharingViolation
	}
	if !r.await(ctx) {
		return 0, systemCancelled
	}
	defer r.leave()
	if h.usable() == sharingViolation { // it may be otherwise after the wait
		return 0, sharingViolation
	}
	s.do(func(st *state) { code = st.checkReconnect(h, want.share) })
	if code != success {
		return 0, code
	}
	if want.disposition != cardbroker.LeaveCard && want.share != cardbroker.ShareDirect {
		if err := s.open(ctx, r, want.share); err != nil {
			return 0, Code(err)
		}
		err := s.reset(ctx, r, want.disposition)
		if err != nil && cardbroker.ReasonOf(err) != cardbroker.CardReset { // it was reset, which is what is wanted
			return 0, s.failed(r, err)
		}
		s.do(func(st *state) { st.reset(r, h) })
	}
	for range 2 { // again if the card had been replaced already
		if protocol, code = c.negotiate(ctx, h, want.share, want.protocols); code != success {
			return 0, code
		}
		epoch := r.up.epoch
		if s.do(func(st *state) { code = st.reconnect(h, want.share, epoch) }); code != removedCard {
			break
		}
	}
	if code != success {
		return 0, code
	}
	if err := s.match(ctx, r); err != nil {
		return 0, s.failed(r, err)
	}
	return protocol, success
}
