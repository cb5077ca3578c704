// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/catalogue"
	"github.com/cardbroker/cardbroker/agent/readers"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/sandbox"
)

// manyReaders is how many readers a sandbox serves at most.
const manyReaders = 15

// ServeMany is a sandbox with as many readers as there may be, each with a card.
func ServeMany(ctx context.Context) error {
	streams, err := sandbox.Inherit()
	if err != nil {
		return err
	}
	return sandbox.Serve(ctx, streams, many{}, slog.New(slog.DiscardHandler))
}

type many struct{}

var _ sandbox.Readers = many{}

// Watch tells of the readers.
func (many) Watch(ctx context.Context, emit func(sandbox.Event)) error {
	for n := range manyReaders {
		emit(sandbox.Event{Reader: fmt.Sprintf("Vendor Twin Card Reader %02d 00", n), Present: true, Card: &cardbroker.Card{ATR: []byte{0x3B, 0x82, byte(n), 1, 2}}})
	}
	emit(sandbox.Event{})
	<-ctx.Done()
	return ctx.Err()
}

// Connect connects to no card.
func (many) Connect(string, cardbroker.ShareMode) (sandbox.Card, error) {
	return nil, cardbroker.Errorf(cardbroker.CardAbsent, "nobody is to use it")
}

// Lists returns how long the handler of GET /v3/readers took, count times, with the readers of ServeMany in a process of a program.
func Lists(ctx context.Context, program, kind string, count int) ([]time.Duration, error) {
	group := run.New(ctx)
	defer group.Stop()
	box, names := cards.New(cards.Config{Program: program, Args: []string{kind}}), catalogue.New(nil, slog.New(slog.DiscardHandler))
	group.Go("sandbox", box.Run)
	group.Go("catalogue", names.Run)
	_, stop := box.Watch()
	defer stop()
	list := readers.New(readers.Config{Cards: box, Names: names, Secret: cardbroker.RandomSecret()})
	request := (&http.Request{Method: "GET", URL: &url.URL{RawQuery: "cardInserted=true&excluded=hello"}}).WithContext(group.Context())
	var took []time.Duration
	for range count {
		var answer recorder
		start := time.Now()
		err := list.Routes()[0].Handle(&answer, request)
		took = append(took, time.Since(start))
		if err != nil {
			return nil, err
		}
		var said struct{ Data []json.RawMessage }
		if err := json.Unmarshal(answer.text, &said); err != nil || len(said.Data) != manyReaders {
			return nil, fmt.Errorf("%d readers, want %d: %w", len(said.Data), manyReaders, err)
		}
	}
	return took, nil
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	text   []byte
}

func (r *recorder) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}

func (r *recorder) Write(p []byte) (int, error) {
	r.text = append(r.text, p...)
	return len(p), nil
}

func (r *recorder) WriteHeader(int) {}
