// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// waitLimit is how long anything may take that a test waits for.
const waitLimit = 20 * time.Second

// readers is a [pcscd.Source] of readers of this machine.
type readers struct{ sandbox.Readers }

func (r readers) Watch(ctx context.Context, emit func(pcscd.Event)) error {
	return r.Readers.Watch(ctx, func(e sandbox.Event) {
		emit(pcscd.Event{Reader: e.Reader, Present: e.Present, Card: e.Card})
	})
}

func (r readers) Connect(_ context.Context, name string, share cardbroker.ShareMode) (pcscd.Card, error) {
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
func (c localCard) Control(context.Context, []byte, uint32, []byte) ([]byte, error) {
	return nil, cardbroker.Errorf(cardbroker.Unsupported, "no control")
}
func (c localCard) Attribute(context.Context, uint32) ([]byte, error) {
	return nil, cardbroker.Errorf(cardbroker.Unsupported, "no attributes")
}

// softReader returns the software reader.
func softReader(t testing.TB) pcscd.Source {
	t.Helper()
	reader, err := softcard.New("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return readers{reader}
}

// serve starts a server and returns the path of its socket.
func serve(t testing.TB, cfg pcscd.Config) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pcscd")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
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
		os.RemoveAll(dir)
	})
	<-server.Listed()
	return path
}
