// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// eventLimit is how long an event is waited for.
const eventLimit = 10 * time.Second

// inserts measures how long after the reader has got a card's first ATR a program of the user, and a back end, are told.
func (b *bench) inserts(ctx context.Context) (_ []measured, err error) {
	if why := pcscbed.Supported(); why != nil {
		return skipAll(2, why), nil
	}
	bed, err := b.startBed(ctx, "inserts", pcscbed.Card{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()
	host, err := b.startHost("inserts")
	if err != nil {
		return nil, err
	}
	defer host.stop()
	agent, err := host.startAgentOf("--pcsc-socket=" + bed.Socket())
	if err != nil {
		return nil, err
	}
	if _, err := agent.offer(ctx, bed.Readers()[0]); err != nil { // valid for longer than this takes
		return nil, err
	}
	group := run.New(ctx)
	defer group.Stop()
	page, backEnd := agent.subscribe(group), host.watch(group)
	for _, events := range []events{page, backEnd} {
		if _, err := events.next(ctx); err != nil { // the card that is in
			return nil, err
		}
	}
	var found [2]measured
	for range pick(b, 30, 8) {
		if err := bed.Remove(ctx, 0); err != nil {
			return nil, err
		}
		seen := make(events, 1)
		if err := bed.Insert(ctx, 0, pcscbed.Card{Seen: seen}); err != nil {
			return nil, err
		}
		at, err := seen.next(ctx)
		if err != nil {
			return nil, err
		}
		for i, events := range []events{page, backEnd} {
			told, err := events.next(ctx)
			if err != nil {
				return nil, err
			}
			found[i].ours = append(found[i].ours, millis(told.Sub(at)))
		}
	}
	return found[:], nil
}

// events are when cards were put in, as somebody was told.
type events chan time.Time

// Write is for the card, which tells so by a byte. There is room for that.
func (e events) Write(p []byte) (int, error) {
	e <- time.Now()
	return len(p), nil
}

// take is for a subscriber.
func (e events) take(ctx context.Context, event string) error {
	if event != api.EventCardIn {
		return nil
	}
	select {
	case e <- time.Now():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next waits for the next event.
func (e events) next(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, eventLimit)
	defer cancel()
	select {
	case at := <-e:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("no event tells of a card: %w", ctx.Err())
	}
}

// subscribe follows the agent as a program of the user does.
func (a *agent) subscribe(group *run.Group) events {
	told := make(events, 1)
	group.Go("events", func(ctx context.Context) error {
		asked := client.NewAgent(a.port)
		defer asked.Close()
		return asked.Events(ctx, func(e api.ReaderEvent) error { return told.take(ctx, e.Event) })
	})
	return told
}

// watch follows the broker as a back end does.
func (h *host) watch(group *run.Group) events {
	told := make(events, 1)
	group.Go("watch", func(ctx context.Context) error {
		return h.backend.Watch(ctx, func(e virtualreader.Event) error { return told.take(ctx, e.Event) })
	})
	return told
}
