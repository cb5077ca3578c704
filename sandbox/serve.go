// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package sandbox is the child's side of the wall between cards and agent: it serves readers over streams that the agent
// handed over, one owner goroutine for each reader, because calls to a card cannot be cancelled and must not wait for
// each other.
//
// It opens no path and no socket of its own, keeps nothing, and fails closed: whatever it does not understand ends the
// process, and so does the end of the agent. Where the cards come from is behind [Readers]; package softcard implements
// it.
package sandbox

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// server is one conversation with the agent.
type server struct {
	*conversation
	readers Readers
	log     *slog.Logger
	control *wire.Stream
	watch   uint64 // seq of the agent's Watch; set before the watcher starts

	// Owned by the watcher.
	slots [wire.Streams]slot // 0 is unused
	last  uint32             // reader number given out
	full  bool               // it was said that there are too many readers
}

// slot is a stream and the reader it serves, or served last.
type slot struct {
	stream  *wire.Stream // nil: never used
	name    string
	present bool
	number  uint32
	serves  atomic.Pointer[assignment] // for the stream's owner
}

// assignment says which reader a stream serves. It is never changed.
type assignment struct {
	number uint32
	name   string
}

// Serve serves readers on the streams, [wire.Streams] of them, until the agent ends the first (nil), ctx ends (nil), the
// agent breaks the protocol (Invalid) or the readers cannot be watched any more. It closes the streams. A call to a card
// that still runs is waited for half a second: the process must end after Serve.
func Serve(ctx context.Context, streams []net.Conn, readers Readers, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &server{
		conversation: newConversation(streams),
		readers:      readers,
		log:          log,
		control:      wire.NewStream(streams[0]),
	}
	s.work(func() error { return s.listen(ctx) })
	_, err := s.finish(ctx, cancel)
	return err
}

// listen reads the control stream: one Watch and then, one day, the end.
func (s *server) listen(ctx context.Context) error {
	for {
		h, _, err := s.control.Receive()
		switch {
		case err != nil:
			return regular(err)
		case h.Type != wire.TypeWatch || h.Seq == 0 || s.watch != 0:
			return cardbroker.Errorf(cardbroker.Invalid, "a frame of type %d and number %d on the control stream", h.Type, h.Seq)
		}
		s.watch = h.Seq
		s.work(func() error { return s.readers.Watch(ctx, s.emit) })
	}
}

// emit tells the agent of an event. The readers' watcher calls it.
func (s *server) emit(e Event) {
	if e == (Event{}) {
		s.send(wire.Header{Type: wire.TypeDone, Seq: s.watch}, nil)
		return
	}
	n := s.slotOf(e.Reader)
	if n == 0 {
		if e.Present && !s.full {
			s.full = true
			s.log.Warn("too many readers; the rest is not shown", "reader", e.Reader)
		}
		return
	}
	at := &s.slots[n]
	switch {
	case !e.Present:
		if at.present {
			at.present = false
			at.serves.Store(nil)
			s.send(wire.Header{Type: wire.TypeReaderRemove, Reader: at.number}, nil)
		}
		return
	case !at.present:
		s.assign(n, e)
	}
	if e.Card == nil {
		s.send(wire.Header{Type: wire.TypeCardOut, Reader: at.number}, nil)
		return
	}
	m := wire.CardIn{Protocol: e.Card.Protocol, ATR: e.Card.ATR}
	s.send(wire.Header{Type: wire.TypeCardIn, Reader: at.number}, m.Append(nil))
}

// slotOf returns the slot of the reader of that name, else one that was never used, else one whose reader is gone, else 0.
func (s *server) slotOf(name string) int {
	free := 0
	for n := 1; n < len(s.slots); n++ {
		at := &s.slots[n]
		switch {
		case at.name == name:
			return n
		case at.present:
		case free == 0, at.stream == nil && s.slots[free].stream != nil:
			free = n
		}
	}
	return free
}

// assign gives a reader to slot n, under a new number, and makes sure that the slot has its owner.
func (s *server) assign(n int, e Event) {
	s.last++
	at := &s.slots[n]
	at.name, at.number, at.present = e.Reader, s.last, true
	at.serves.Store(&assignment{number: s.last, name: e.Reader})
	if at.stream == nil {
		at.stream = wire.NewStream(s.conns[n])
		o := &owner{readers: s.readers, log: s.log, stream: at.stream, serves: &at.serves}
		s.work(o.run)
	}
	m := wire.ReaderAdd{Stream: uint8(n), PINPad: e.PINPad, Name: e.Reader}
	s.send(wire.Header{Type: wire.TypeReaderAdd, Reader: s.last}, m.Append(nil))
}

// send sends an event. An error needs no care here: the agent is gone, and the control stream has ended.
func (s *server) send(h wire.Header, payload []byte) { s.control.Send(h, payload) }
