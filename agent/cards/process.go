// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/child"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// process is one process of cardsandbox.
type process struct {
	*child.Process
	links [wire.Streams]*link // 0 is control and nil here
}

// reader is a reader of this process.
type reader struct {
	cardbroker.Reader
	number uint32
	stream uint8
}

// startLimit is from the start to the list of readers; a vendor's driver may be slow.
const startLimit = 10 * time.Second

// attend starts a process, and tells the loop of it and its end.
func (s *Sandbox) attend(ctx context.Context) error {
	exit := child.Attend(ctx, child.Config{Program: s.cfg.Program, Args: s.cfg.Args, Env: s.cfg.Env, Log: s.cfg.Log}, func(p *child.Process) error {
		own := &process{Process: p}
		for n, line := range p.Lines[1:] {
			own.links[n+1] = &link{process: own, line: line, turn: make(chan struct{}, 1)}
		}
		return own.follow(func(readers []reader) error {
			return s.tell(func(st *state) { st.told(own, readers) })
		})
	})
	return s.tell(func(st *state) { st.life.Ended(exit) })
}

// follow asks the process for its readers and reads what it says of them until the stream ends. It tells the whole list,
// first when it is complete and then after each change.
func (p *process) follow(tell func([]reader) error) error {
	control := p.Lines[0]
	if err := control.Conn().SetDeadline(p.Started.Add(startLimit)); err != nil {
		return err
	}
	const watch = 1 // the only question on this stream
	if err := control.Send(wire.Header{Type: wire.TypeWatch, Seq: watch}, nil); err != nil {
		return err
	}
	complete := false
	var readers []reader
	for {
		h, payload, err := control.Receive()
		if err != nil {
			return err
		}
		switch {
		case h.Type == wire.TypeDone && h.Seq == watch && !complete:
			complete = true
			if err := control.Conn().SetDeadline(time.Time{}); err != nil {
				return err
			}
		case h.Seq != 0:
			return cardbroker.Errorf(cardbroker.Internal, "it answered what nobody asked")
		default:
			if readers, err = change(readers, h, payload); err != nil {
				return err
			}
		}
		if complete {
			if err := tell(readers); err != nil {
				return err
			}
		}
	}
}

// change returns a list that differs from readers by what the event says.
func change(readers []reader, h wire.Header, payload []byte) ([]reader, error) {
	at := slices.IndexFunc(readers, func(r reader) bool { return r.number == h.Reader })
	if at < 0 && h.Type == wire.TypeReaderAdd {
		return add(readers, h.Reader, payload)
	}
	if at < 0 || len(payload) > 0 && h.Type != wire.TypeCardIn {
		return nil, cardbroker.Errorf(cardbroker.Internal, "its event of type %d does not fit reader %d", h.Type, h.Reader)
	}
	readers = slices.Clone(readers)
	switch h.Type {
	case wire.TypeReaderRemove:
		return slices.Delete(readers, at, at+1), nil
	case wire.TypeCardOut:
		readers[at].Card = nil
	case wire.TypeCardIn:
		m, err := wire.ParseCardIn(payload)
		if err != nil {
			return nil, err
		}
		readers[at].Card = &cardbroker.Card{ATR: bytes.Clone(m.ATR), Protocol: m.Protocol}
	default:
		return nil, cardbroker.Errorf(cardbroker.Internal, "its event has the type %d", h.Type)
	}
	return readers, nil
}

// add returns the list with a reader more, by name.
func add(readers []reader, number uint32, payload []byte) ([]reader, error) {
	m, err := wire.ParseReaderAdd(payload)
	if err != nil {
		return nil, err
	}
	for _, r := range readers {
		if r.stream == m.Stream || r.Name == m.Name {
			return nil, cardbroker.Errorf(cardbroker.Internal, "it has two readers of one name or on one stream")
		}
	}
	at, _ := slices.BinarySearchFunc(readers, m.Name, func(r reader, name string) int { return strings.Compare(r.Name, name) })
	added := reader{Reader: cardbroker.Reader{Name: m.Name, PINPad: m.PINPad}, number: number, stream: m.Stream}
	return slices.Insert(slices.Clone(readers), at, added), nil
}
