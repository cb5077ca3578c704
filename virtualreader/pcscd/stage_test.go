// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// waitLimit is how long anything may take that a test waits for.
const waitLimit = 20 * time.Second

// readers is a [pcscd.Source] of readers of this machine, whose cards a test takes out and whose readers it unplugs.
type readers struct {
	sandbox.Readers
	events chan pcscd.Event
	seen   atomic.Pointer[pcscd.Event]     // the last event of the reader
	card   atomic.Pointer[cardbroker.Card] // that was in it at first
}

func (r *readers) Watch(ctx context.Context, emit func(pcscd.Event)) error {
	first := make(chan pcscd.Event, 10)
	list, cancel := context.WithCancel(ctx)
	r.Readers.Watch(list, func(e sandbox.Event) {
		if e == (sandbox.Event{}) {
			cancel()
			return
		}
		first <- pcscd.Event{Reader: e.Reader, Present: e.Present, Card: e.Card}
	})
	close(first)
	for e := range first {
		r.seen.Store(&e)
		r.card.Store(e.Card)
		emit(e)
	}
	emit(pcscd.Event{})
	for {
		select {
		case e := <-r.events:
			r.seen.Store(&e)
			emit(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// takeOut takes the card out, putIn puts it in again, unplug and plug do that with the reader.
func (r *readers) takeOut()         { r.events <- pcscd.Event{Reader: softcard.Name, Present: true} }
func (r *readers) unplug()          { r.events <- pcscd.Event{Reader: softcard.Name} }
func (r *readers) plug(name string) { r.events <- pcscd.Event{Reader: name, Present: true} }
func (r *readers) putIn() {
	r.events <- pcscd.Event{Reader: softcard.Name, Present: true, Card: r.card.Load()}
}

func (r *readers) Connect(_ context.Context, name string, share cardbroker.ShareMode) (pcscd.Card, error) {
	if seen := r.seen.Load(); seen.Card == nil && share != cardbroker.ShareDirect {
		return nil, cardbroker.Errorf(cardbroker.CardAbsent, "no card")
	}
	card, err := r.Readers.Connect(name, share)
	if err != nil {
		return nil, err
	}
	return localCard{card}, nil
}

// localCard is a [pcscd.Card] of this machine.
type localCard struct{ card sandbox.Card }

func (c localCard) Info() cardbroker.Card       { return c.card.Info() }
func (c localCard) Begin(context.Context) error { return c.card.Begin() }
func (c localCard) Transmit(_ context.Context, dst, command []byte) ([]byte, error) {
	return c.card.Transmit(dst, command)
}
func (c localCard) End(_ context.Context, d cardbroker.Disposition) error { return c.card.End(d) }
func (c localCard) Disconnect(_ context.Context, d cardbroker.Disposition) error {
	return c.card.Disconnect(d)
}
func (c localCard) Control(_ context.Context, dst []byte, code uint32, in []byte) ([]byte, error) {
	return c.card.Control(dst, code, in)
}
func (c localCard) Attribute(_ context.Context, id uint32) ([]byte, error) {
	return c.card.Attribute(id)
}

// softReader returns the software reader.
func softReader(t testing.TB) *readers {
	t.Helper()
	reader, err := softcard.New("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return &readers{Readers: reader, events: make(chan pcscd.Event)}
}

// serve starts a server and returns the path of its socket.
func serve(t testing.TB, cfg pcscd.Config) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pcscd")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	serveAt(t, cfg, path)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return path
}

// serveAt starts a server.
func serveAt(t testing.TB, cfg pcscd.Config, path string) {
	t.Helper()
	listener, err := pcscd.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	server := pcscd.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve() = %v, want nil", err)
			}
		case <-time.After(waitLimit):
			t.Error("Serve() has not ended")
		}
	})
}
