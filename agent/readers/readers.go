// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package readers shows the session's own pages and programs which readers there are and which cards are in them: as lists,
// and as changes for those who watch. It opens no card, and has no state of its own.
package readers

import (
	"context"
	"net/http"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/catalogue"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// Config is what a list is made of.
type Config struct {
	Cards   *cards.Sandbox
	Names   *catalogue.Catalogue // says what cards probably are
	Secret  cardbroker.Secret    // that ids are made from
	Modules []config.Module      // that cards may be for
}

// List is the list of a session's readers. Any number of goroutines may use it.
type List struct{ cfg Config }

// New returns the list.
func New(cfg Config) *List { return &List{cfg} }

// Routes are what is asked of it.
func (l *List) Routes() []httpserver.Route {
	return []httpserver.Route{
		{Method: "GET", Path: "/v3/readers", Access: httpserver.Self, Handle: l.all},
		{Method: "GET", Path: "/v3/readers/{id}", Access: httpserver.Self, Handle: l.one},
	}
}

// all lists the readers that the query wants, by name.
func (l *List) all(w http.ResponseWriter, r *http.Request) error {
	filter, err := ParseFilter(r.URL.Query())
	if err != nil {
		return err
	}
	readers, err := l.cfg.Cards.Readers(r.Context())
	if err != nil {
		return err
	}
	wanted := make([]cardbroker.Reader, 0, len(readers))
	for _, reader := range readers {
		if filter.wants(reader) {
			wanted = append(wanted, reader)
		}
	}
	return httpserver.Data(w, l.rows(r.Context(), wanted))
}

func (l *List) one(w http.ResponseWriter, r *http.Request) error {
	reader, err := l.Find(r.Context(), cardbroker.ReaderID(r.PathValue("id")))
	if err != nil {
		return err
	}
	return httpserver.Data(w, l.rows(r.Context(), []cardbroker.Reader{reader})[0])
}

// Find finds a reader of the session by the id that local callers see. Errors: ReaderUnknown, and as of [cards.Sandbox.Readers].
func (l *List) Find(ctx context.Context, id cardbroker.ReaderID) (cardbroker.Reader, error) {
	readers, err := l.cfg.Cards.Readers(ctx)
	if err != nil {
		return cardbroker.Reader{}, err
	}
	for _, reader := range readers {
		if l.id(reader) == id {
			return reader, nil
		}
	}
	return cardbroker.Reader{}, cardbroker.Errorf(cardbroker.ReaderUnknown, "there is no such reader in this session")
}

func (l *List) id(r cardbroker.Reader) cardbroker.ReaderID {
	return cardbroker.NewReaderID(l.cfg.Secret, r.Name)
}

// rows describes readers and the cards in them.
func (l *List) rows(ctx context.Context, readers []cardbroker.Reader) []api.CardReader {
	rows := make([]api.CardReader, len(readers))
	var atrs []string
	for i, reader := range readers {
		rows[i] = api.CardReader{ID: l.id(reader), Name: reader.Name, PINPad: reader.PINPad}
		if card := api.NewCard(reader.Card); card != nil {
			rows[i].Card = &api.CardReaderCard{ATR: card.ATR, Description: []string{}, Modules: l.modules(card.ATR)}
			atrs = append(atrs, card.ATR)
		}
	}
	known := l.cfg.Names.Describe(ctx, atrs)
	for _, row := range rows {
		if row.Card != nil && known[row.Card.ATR] != nil {
			row.Card.Description = known[row.Card.ATR]
		}
	}
	return rows
}

// modules returns the names of the modules that a card may be for.
func (l *List) modules(atr string) []string {
	names := []string{}
	for _, m := range l.cfg.Modules {
		if atr != "" && m.PCSC && fits(m, atr) {
			names = append(names, m.Name)
		}
	}
	return names
}

// Changes returns a function that gives the events since its last call, of the readers that are wanted; at first they are
// all new.
func (l *List) Changes(ctx context.Context, wanted Filter) func() []api.ReaderEvent {
	wanted.card = nil // a reader does not come and go with its card
	var seen []api.ReaderState
	return func() []api.ReaderEvent {
		now := l.states(wanted)
		events := api.Changes(seen, now, time.Now().UTC())
		seen = now
		l.describe(ctx, events)
		return events
	}
}

// describe says of the cards that came in what they probably are.
func (l *List) describe(ctx context.Context, events []api.ReaderEvent) {
	var atrs []string
	for _, e := range events {
		atrs = append(atrs, e.ATR)
	}
	known := l.cfg.Names.Describe(ctx, atrs)
	for i, e := range events {
		events[i].Description = known[e.ATR]
	}
}

func (l *List) states(wanted Filter) []api.ReaderState {
	readers, life := l.cfg.Cards.Snapshot(), l.cfg.Cards.Status().Starts
	states := make([]api.ReaderState, 0, len(readers))
	for _, reader := range readers {
		if !wanted.wants(reader) {
			continue
		}
		states = append(states, api.ReaderState{ID: l.id(reader), Name: reader.Name, Life: life, Card: api.NewCard(reader.Card)})
	}
	return states
}
