// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"context"
	"log/slog"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// ServeSoftCard serves a software card in memory at socket, by our own PC/SC server with nothing between the two, in a process
// that does nothing else, as with `cardbroker reader serve`. It returns the reader's name.
func ServeSoftCard(group *run.Group, socket string) (reader string, err error) {
	card, err := softcard.New("", slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	listener, err := pcscd.Listen(socket)
	if err != nil {
		return "", err
	}
	server := pcscd.New(pcscd.Config{Source: source{card}, Log: slog.New(slog.DiscardHandler)})
	group.Go("PC/SC", func(ctx context.Context) error { return server.Serve(ctx, listener) })
	return softcard.Name, nil
}

// source is a source of readers of this process.
type source struct{ readers sandbox.Readers }

func (s source) Watch(ctx context.Context, emit func(pcscd.Event)) error {
	return s.readers.Watch(ctx, func(e sandbox.Event) {
		emit(pcscd.Event{Reader: e.Reader, Present: e.Present, Card: e.Card})
	})
}

func (s source) Connect(_ context.Context, reader string, share cardbroker.ShareMode) (pcscd.Card, error) {
	card, err := s.readers.Connect(reader, share)
	if err != nil {
		return nil, err
	}
	return local{card}, nil
}

// local is a card of this process.
type local struct{ card sandbox.Card }

func (l local) Info() cardbroker.Card       { return l.card.Info() }
func (l local) Begin(context.Context) error { return l.card.Begin() }

func (l local) End(_ context.Context, d cardbroker.Disposition) error { return l.card.End(d) }

func (l local) Transmit(_ context.Context, dst, command []byte) ([]byte, error) {
	return l.card.Transmit(dst, command)
}

func (l local) Control(_ context.Context, dst []byte, code uint32, in []byte) ([]byte, error) {
	return l.card.Control(dst, code, in)
}

func (l local) Attribute(_ context.Context, id uint32) ([]byte, error) { return l.card.Attribute(id) }

func (l local) Disconnect(_ context.Context, d cardbroker.Disposition) error {
	return l.card.Disconnect(d)
}
