// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/calls"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// inserts measures how long after the reader has got a card's first ATR a program of the user, and a back end, are told.
func (b *bench) inserts(ctx context.Context) (_ []measured, err error) {
	if why := pcscbed.Supported(); why != nil {
		return skipAll(2, why), nil
	}
	d, err := b.startDesk(ctx, "inserts")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if _, err := d.agent.offer(ctx, d.bed.Readers()[0]); err != nil { // valid for longer than this takes
		return nil, err
	}
	group := run.New(ctx)
	defer group.Stop()
	page, backEnd := d.agent.subscribe(group), d.host.watch(group)
	for _, events := range []calls.Moments{page, backEnd} {
		if _, err := events.Next(ctx); err != nil { // the card that is in
			return nil, err
		}
	}
	var found [2]measured
	for range pick(b, 30, 8) {
		if err := d.bed.Remove(ctx, 0); err != nil {
			return nil, err
		}
		seen := make(calls.Moments, 1)
		if err := d.bed.Insert(ctx, 0, pcscbed.Card{Seen: seen}); err != nil {
			return nil, err
		}
		at, err := seen.Next(ctx)
		if err != nil {
			return nil, err
		}
		for i, events := range []calls.Moments{page, backEnd} {
			told, err := events.Next(ctx)
			if err != nil {
				return nil, err
			}
			found[i].ours = append(found[i].ours, sample.Millis(told.Sub(at)))
		}
	}
	return found[:], nil
}

// subscribe follows the agent as a program of the user does.
func (a *agent) subscribe(group *run.Group) calls.Moments {
	told := make(calls.Moments, 1)
	group.Go("events", func(ctx context.Context) error {
		asked := client.NewAgent(a.port)
		defer asked.Close()
		return asked.Events(ctx, func(e api.ReaderEvent) error { return told.Take(ctx, e.Event) })
	})
	return told
}

// watch follows the broker as a back end does.
func (h *host) watch(group *run.Group) calls.Moments {
	told := make(calls.Moments, 1)
	group.Go("watch", func(ctx context.Context) error {
		return h.backend.Watch(ctx, func(e virtualreader.Event) error { return told.Take(ctx, e.Event) })
	})
	return told
}
