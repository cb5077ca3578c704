// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/test/bench/counted"
	"github.com/cardbroker/cardbroker/test/bench/sample"
)

// sandboxHop measures what it costs to reach a card that is in another process: time with cardsandbox, allocations with a
// helper that serves the same card and can tell of its own.
func (b *bench) sandboxHop(ctx context.Context) ([]measured, error) {
	hop := measured{}
	err := b.withSandbox(ctx, "cardsandbox", func(ctx context.Context, card *cards.Card) error {
		p := &sample.Path{Trip: trip(ctx, card, echoCommand())}
		err := sample.InTurns(ctx, pick(b, 100, 20), p)
		hop.ours = p.Took
		return err
	})
	if err != nil {
		return nil, err
	}
	ours, theirs := measured{}, measured{}
	err = b.withSandbox(ctx, "bench", func(ctx context.Context, card *cards.Card) (err error) {
		ours.ours, theirs.ours, err = counted.Both(ctx, card, trip(ctx, card, echoCommand()), pick(b, 20, 5))
		return err
	})
	return []measured{hop, ours, theirs}, err
}

// withSandbox has measure use a software card that the program serves.
func (b *bench) withSandbox(ctx context.Context, program string, measure func(context.Context, *cards.Card) error) error {
	box := cards.New(cards.Config{Program: b.stage.Path("bin", program), Args: []string{helpCard}})
	group := run.New(ctx)
	defer group.Stop()
	group.Go("sandbox", box.Run)
	card, err := box.Open(group.Context(), softcard.Name, cardbroker.ShareShared)
	if err != nil {
		return err
	}
	defer card.Close(cardbroker.LeaveCard)
	return measure(group.Context(), card)
}

// trip is one command to the card and its answer.
func trip(ctx context.Context, card *cards.Card, command []byte) func() error {
	var answer []byte
	return func() (err error) {
		if answer, _, err = card.Transmit(ctx, answer[:0], command); err != nil {
			return err
		}
		return checkEcho(command, answer)
	}
}
