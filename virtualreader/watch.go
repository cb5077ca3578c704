// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
)

// Event is a change of a reader, and the broker that says so.
type Event struct {
	api.ReaderEvent
	Broker string
}

// Watch calls f for each change of a reader that is offered to the tenant, one call at a time, until f returns an error,
// a broker fails or ctx ends, and returns why. While f is slow, changes wait at the broker, which ends a watch that is
// too slow. With an API key a watch goes on when its token has expired. Brokers that call are watched while they do: what they
// offer is removed when they hang up.
func (c *Client) Watch(ctx context.Context, f func(Event) error) error {
	group := run.New(ctx)
	events := make(chan Event)
	if c.called != nil {
		group.Go("watch who calls", func(ctx context.Context) error { return c.watchCalled(ctx, events) })
	}
	for _, broker := range c.brokers {
		w := &watch{client: c, broker: broker, events: events, known: make(map[cardbroker.ReaderID]api.ReaderState)}
		group.Go("watch "+broker, w.run)
	}
	for {
		select {
		case e := <-events:
			if err := f(e); err != nil {
				group.Stop()
				return err
			}
		case <-group.Context().Done():
			if err := group.Wait(); err != nil {
				return err
			}
			return ctx.Err()
		}
	}
}

// errEnded is the end of a watch by the broker: its token has expired, or the broker stops.
var errEnded = errors.New("the broker ended the watch")

// watch follows one broker. known is what has been told of it.
type watch struct {
	client *Client
	broker string
	events chan<- Event
	known  map[cardbroker.ReaderID]api.ReaderState
}

// run follows the broker, over one connection after the other where tokens expire.
func (w *watch) run(ctx context.Context) error {
	err := w.follow(ctx, false)
	for errors.Is(err, errEnded) && w.client.tokens != nil {
		err = w.follow(ctx, true)
	}
	return err
}

// follow passes on what one connection says. One that is not the first begins with what is known already: that is dropped, and
// what has gone meanwhile is told first.
func (w *watch) follow(ctx context.Context, again bool) error {
	conn, err := w.client.dial(ctx, w.client.events, target{broker: w.broker, path: "/cb/v1/readers/events"})
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if again {
		if err := w.catchUp(ctx); err != nil {
			return err
		}
	}
	for {
		var e api.ReaderEvent
		err := conn.NextJSON(&e)
		if err == io.EOF || cardbroker.ReasonOf(err) == cardbroker.Canceled && ctx.Err() == nil {
			return cardbroker.Wrapf(errEnded, cardbroker.Unavailable, "the broker ended the watch")
		}
		if err != nil {
			return err
		}
		if again && !w.news(e) {
			continue
		}
		if err := w.tell(ctx, e); err != nil {
			return err
		}
	}
}

// catchUp tells what has gone while nobody listened.
func (w *watch) catchUp(ctx context.Context) error {
	list, err := w.client.list(ctx, w.broker)
	if err != nil {
		return err
	}
	return w.gone(ctx, api.States(list))
}

// gone tells what was known and is not there now.
func (w *watch) gone(ctx context.Context, now []api.ReaderState) error {
	var before []api.ReaderState
	for _, state := range w.known {
		before = append(before, state)
	}
	for _, e := range api.Changes(before, now, time.Now().UTC()) {
		if e.Event == api.EventReaderRemoved || e.Event == api.EventCardOut {
			if err := w.tell(ctx, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// news says whether an event tells something that is not known.
func (w *watch) news(e api.ReaderEvent) bool {
	state, known := w.known[e.Reader]
	switch e.Event {
	case api.EventReaderAdded:
		return !known
	case api.EventReaderRemoved:
		return known
	case api.EventCardIn:
		return state.Card == nil || state.Card.ATR != e.ATR
	case api.EventCardOut:
		return state.Card != nil
	}
	return true
}

// tell passes an event on, and notes it.
func (w *watch) tell(ctx context.Context, e api.ReaderEvent) error {
	state := w.known[e.Reader]
	state.ID, state.Name = e.Reader, e.Name
	switch e.Event {
	case api.EventCardIn:
		state.Card = &api.Card{ATR: e.ATR}
	case api.EventCardOut:
		state.Card = nil
	}
	w.known[e.Reader] = state
	if e.Event == api.EventReaderRemoved {
		delete(w.known, e.Reader)
	}
	select {
	case w.events <- Event{ReaderEvent: e, Broker: w.broker}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
