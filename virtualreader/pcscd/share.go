// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Who may use a reader: the part of the state that connections and transactions change.

// handle is a client's connection to a reader. Its fields belong to the client, but for those that say otherwise.
type handle struct {
	id     uint32
	reader *reader
	client *client
	share  cardbroker.ShareMode // changed when the client asks for that

	// Written with the state.
	trouble atomic.Uint32 // the code that uses of the handle are answered with, or success
	begun   atomic.Uint32 // transactions within each other
}

// request is a Begin or a Connect that waits for the end of another client's transaction.
type request struct {
	client *client
	handle *handle // nil: a Connect

	// Part of the state.
	asking bool        // the client waits for the answer; else it was told to ask again
	until  time.Time   // if not asking: when its place is lost
	code   chan uint32 // capacity 1: the answer; to a Connect: try again
}

// connectRequest is what a client wants to connect to.
type connectRequest struct {
	name  string
	share cardbroker.ShareMode
}

// connect makes a handle, or says why not. If it has to wait, it returns the request.
func (st *state) connect(c *client, want connectRequest) (*handle, *request, uint32) {
	r := st.find(want.name)
	switch {
	case r == nil:
		return nil, nil, unknownReader
	case r.exclusive:
		return nil, nil, sharingViolation
	}
	if holder := r.holder.Load(); holder != nil {
		if holder.client == c { // it would wait for itself
			return nil, nil, sharingViolation
		}
		q := &request{client: c, asking: true, code: make(chan uint32, 1)}
		r.queue = append(r.queue, q)
		return nil, q, success
	}
	if code := r.lacks(want.share); code != success {
		return nil, nil, code
	}
	exclusive := want.share == cardbroker.ShareExclusive
	if exclusive && len(r.handles) > 0 {
		return nil, nil, sharingViolation
	}
	h := &handle{reader: r, client: c, share: want.share}
	h.id = st.newID(func(id uint32) bool { return st.handles[id] })
	st.handles[h.id] = true
	r.handles[h] = true
	if exclusive {
		r.exclusive = true
		r.holder.Store(h)
	}
	st.changed = true
	return h, nil, success
}

// disconnect forgets a handle and says whether it was the reader's last.
func (st *state) disconnect(h *handle) (last bool) {
	r := h.reader
	delete(st.handles, h.id)
	delete(r.handles, h)
	if h.share == cardbroker.ShareExclusive {
		r.exclusive = false
	}
	r.forget(func(q *request) bool { return q.handle == h })
	if r.holder.Load() == h {
		r.holder.Store(nil)
		st.grant(r)
	}
	if len(r.handles) == 0 {
		r.protocol.Store(uint32(cardbroker.ProtocolUndefined))
	}
	st.changed = true
	return len(r.handles) == 0
}

// checkReconnect says why a handle cannot be connected anew in a share mode.
func (st *state) checkReconnect(h *handle, share cardbroker.ShareMode) uint32 {
	r := h.reader
	if h.trouble.Load() == readerUnavailable {
		return readerUnavailable
	}
	if code := r.lacks(share); code != success {
		return code
	}
	if share == cardbroker.ShareExclusive && len(r.handles) > 1 {
		return sharingViolation
	}
	return success
}

// reconnect makes a handle good again, in another share mode if need be. epoch is of the card that it was connected to.
func (st *state) reconnect(h *handle, share cardbroker.ShareMode, epoch uint64) uint32 {
	if code := st.checkReconnect(h, share); code != success {
		return code
	}
	r := h.reader
	if share != cardbroker.ShareDirect && epoch != r.epoch.Load() {
		return removedCard
	}
	h.trouble.Store(success)
	exclusive := share == cardbroker.ShareExclusive
	switch {
	case exclusive:
		r.exclusive = true
		r.holder.Store(h)
	case h.share == cardbroker.ShareExclusive:
		r.exclusive = false
		h.begun.Store(0)
		r.holder.Store(nil)
		st.grant(r)
	}
	h.share = share
	st.changed = true
	return success
}

// begin begins a transaction, or says why not. If it has to wait, it returns the request.
func (st *state) begin(h *handle) (*request, uint32) {
	r := h.reader
	if code := h.trouble.Load(); code != success {
		return nil, code
	}
	switch holder := r.holder.Load(); {
	case holder == nil, holder == h:
		r.forget(func(q *request) bool { return q.handle == h })
		r.hold(h)
		return nil, success
	}
	i := slices.IndexFunc(r.queue, func(q *request) bool { return q.handle == h })
	if i < 0 {
		r.queue = append(r.queue, &request{client: h.client, handle: h})
		i = len(r.queue) - 1
	}
	q := r.queue[i]
	q.asking, q.code = true, make(chan uint32, 1)
	return q, success
}

// putOff tells a request to ask again: false if it was answered meanwhile.
func (st *state) putOff(q *request) bool {
	if len(q.code) > 0 {
		return false
	}
	q.asking, q.until = false, time.Now().Add(keepPlace)
	return true
}

// end ends a transaction of a handle that holds one.
func (st *state) end(h *handle) {
	r := h.reader
	if r.holder.Load() != h || h.begun.Load() == 0 { // the card was removed meanwhile
		return
	}
	h.begun.Store(h.begun.Load() - 1)
	if h.begun.Load() == 0 && h.share != cardbroker.ShareExclusive {
		r.holder.Store(nil)
		st.grant(r)
	}
}

// reset notes that the card was reset: by whom but says, or by somebody else.
func (st *state) reset(r *reader, but *handle) {
	r.mark(resetCard, but)
	st.changed = true
}

// lose notes that the connection to the card is of no use as it is: clients have to reconnect. Without a card there is no
// transaction.
func (st *state) lose(r *reader, code uint32) {
	r.mark(code, nil)
	if code == removedCard {
		r.holder.Store(nil)
		st.grant(r)
	}
	st.changed = true
}

// grant lets those go on who waited for the end of a transaction: every Connect, up to the first Begin, which holds
// again. Who was told to ask again is passed over, and loses his place when he does not.
func (st *state) grant(r *reader) {
	now := time.Now()
	r.forget(func(q *request) bool { return !q.asking && now.After(q.until) })
	for i := 0; i < len(r.queue); {
		q := r.queue[i]
		if !q.asking {
			i++
			continue
		}
		r.queue = slices.Delete(r.queue, i, i+1)
		if q.handle == nil {
			st.answer(q, success)
			continue
		}
		if code := q.handle.trouble.Load(); code != success {
			st.answer(q, code)
			continue
		}
		r.hold(q.handle)
		st.answer(q, success)
		return
	}
}
