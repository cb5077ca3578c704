// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Limits, so that no client can use up the server.
const (
	maxReaders = 1024
	maxHandles = 200 // of one client
)

// keepPlace is how long a client keeps its place among those who wait for a transaction, after it was told to ask again:
// libpcsclite does so after 100 ms.
const keepPlace = time.Second

// state is readers, handles and who waits. It belongs to who has its turn, see [Server.do], and is memory only: what it
// does calls no card, no client and nobody else.
type state struct {
	server   *Server
	readers  []*reader // in the order in which they came
	places   int       // for readers that clients are told of: never fewer than before, which libpcsclite 2.5 does not take
	contexts map[uint32]*client
	handles  map[uint32]bool  // the ids in use
	waiting  map[*client]bool // false: only a cancel ends the wait yet, see [state.listen]
	events   uint32           // counts readers that came or went, with 16 bits
	changed  bool             // something that is published, since it was last published
	notable  bool             // something that waiting clients are told of, likewise
	woken    []*client
}

// view is what is published.
type view struct {
	states []byte // READER_STATE of each reader, and of empty places
	events uint32
}

func newState(s *Server) *state {
	return &state{
		server:   s,
		places:   fixedStates,
		events:   1,
		contexts: make(map[uint32]*client),
		handles:  make(map[uint32]bool),
		waiting:  make(map[*client]bool),
	}
}

// publish publishes what has changed and returns who is to be woken for it.
func (st *state) publish() []*client {
	if st.changed {
		st.changed = false
		st.places = max(st.places, len(st.readers))
		v := &view{events: st.events, states: make([]byte, 0, st.places*stateSize)}
		for _, r := range st.readers {
			v.states = r.appendState(v.states)
		}
		v.states = v.states[:st.places*stateSize]
		st.server.view.Store(v)
	}
	if st.notable {
		st.notable = false
		for c, listens := range st.waiting {
			if listens {
				st.wake(c, success)
			}
		}
	}
	woken := st.woken
	st.woken = nil
	return woken
}

// wake ends a client's wait for an event.
func (st *state) wake(c *client, code uint32) {
	delete(st.waiting, c)
	select {
	case c.event <- code:
	default:
		panic("BUG: a client waits for an event before it has taken the last")
	}
	st.woken = append(st.woken, c)
}

// answer answers a request that waits.
func (st *state) answer(q *request, code uint32) {
	if q.asking {
		q.code <- code
		st.woken = append(st.woken, q.client)
	}
}

// establish gives a client a context, in place of the one that it may have.
func (st *state) establish(c *client) {
	delete(st.contexts, c.context.Load())
	id := st.newID(func(id uint32) bool { return st.contexts[id] != nil })
	st.contexts[id] = c
	c.context.Store(id)
}

// release takes a client's context and all that waits in its name.
func (st *state) release(c *client) {
	delete(st.contexts, c.context.Load())
	c.context.Store(0)
	delete(st.waiting, c)
	for _, r := range st.readers {
		r.forget(func(q *request) bool { return q.client == c })
	}
}

// newID returns a positive number of 31 bits that nobody can guess.
func (st *state) newID(taken func(uint32) bool) uint32 {
	for {
		var b [4]byte
		rand.Read(b[:])
		if id := binary.NativeEndian.Uint32(b[:]) >> 1; id != 0 && !taken(id) {
			return id
		}
	}
}

// cancel wakes who waits with a context.
func (st *state) cancel(context uint32) uint32 {
	c := st.contexts[context]
	if c == nil {
		return invalidHandle
	}
	if _, waits := st.waiting[c]; waits {
		st.wake(c, cancelled)
	}
	return success
}

// startWaiting notes who waits, and whether he knows the readers as they are and so needs to be told of changes. A client
// that was waiting already may have an event by now, which then ends this wait.
func (st *state) startWaiting(c *client, listens bool) {
	if len(c.event) == 0 {
		st.waiting[c] = listens
	}
}

// listen notes that who waits knows the readers now, but for those beyond the number that he counted before.
func (st *state) listen(c *client, counted int) {
	if _, waits := st.waiting[c]; !waits { // it was cancelled
		return
	}
	st.waiting[c] = true
	if len(st.readers) > counted {
		st.wake(c, success)
	}
}

// stopWaiting says whether the client was still waiting.
func (st *state) stopWaiting(c *client) bool {
	_, was := st.waiting[c]
	delete(st.waiting, c)
	return was
}

// find returns the reader of a name, or nil.
func (st *state) find(name string) *reader {
	i := slices.IndexFunc(st.readers, func(r *reader) bool { return r.name == name })
	if i < 0 {
		return nil
	}
	return st.readers[i]
}

// event takes what the source tells.
func (st *state) event(e Event) {
	r := st.find(e.Reader)
	switch {
	case e.Present && r == nil:
		st.addReader(e)
	case e.Present:
		st.setCard(r, e.Card)
	case r != nil:
		st.removeReader(r)
	}
}

func (st *state) addReader(e Event) {
	if n := len(e.Reader); n == 0 || n >= nameSize || bytes.IndexByte([]byte(e.Reader), 0) >= 0 || len(st.readers) >= maxReaders {
		st.server.cfg.Log.Warn("cannot show a reader: its name is too long, or there are too many", "reader", e.Reader)
		return
	}
	r := newReader(e.Reader)
	for slices.ContainsFunc(st.readers, func(other *reader) bool { return other.unit == r.unit }) {
		r.unit++
	}
	r.card = e.Card
	st.readers = append(st.readers, r)
	st.noteReaders()
}

func (st *state) removeReader(r *reader) {
	st.readers = slices.DeleteFunc(st.readers, func(other *reader) bool { return other == r })
	st.loseCard(r, readerUnavailable)
	st.noteReaders()
}

func (st *state) noteReaders() {
	st.events = next16(st.events)
	st.changed, st.notable = true, true
}

// setCard notes which card is in a reader.
func (st *state) setCard(r *reader, card *cardbroker.Card) {
	same := card != nil && r.card != nil && bytes.Equal(card.ATR, r.card.ATR) && card.Protocol == r.card.Protocol
	if same || card == nil && r.card == nil {
		return
	}
	if r.card != nil {
		st.loseCard(r, removedCard)
	}
	if card != nil {
		r.card = card
		r.epoch.Add(1)
		r.count()
	}
	st.changed, st.notable = true, true
}

// loseCard ends all that was with the card, or with the reader itself.
func (st *state) loseCard(r *reader, code uint32) {
	r.card = nil
	r.epoch.Add(1)
	r.count()
	r.mark(code, nil)
	r.holder.Store(nil)
	for _, q := range r.queue {
		st.answer(q, code)
	}
	r.queue = nil
	if len(r.handles) > 0 {
		st.server.closeStale(r)
	}
}
