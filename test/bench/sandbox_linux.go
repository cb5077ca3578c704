// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"runtime"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
)

const countBatch = 1000 // APDUs between two counts of allocations

// sandboxHop measures what it costs to reach a card that is in another process: time with cardsandbox, allocations with a
// helper that serves the same card and can tell of its own.
func (b *bench) sandboxHop(ctx context.Context) ([]measured, error) {
	hop := measured{}
	err := b.withSandbox(ctx, "cardsandbox", func(ctx context.Context, card *cards.Card) error {
		p := &path{trip: trip(ctx, card, echoCommand())}
		err := inTurns(ctx, pick(b, 100, 20), p)
		hop.ours = p.took
		return err
	})
	if err != nil {
		return nil, err
	}
	ours, theirs := measured{}, measured{}
	err = b.withSandbox(ctx, "bench", func(ctx context.Context, card *cards.Card) (err error) {
		ours.ours, theirs.ours, err = countAllocations(ctx, card, pick(b, 20, 5))
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

// countAllocations returns the allocations for each APDU, here and in the sandbox, whole ones as testing.AllocsPerRun
// does: what the runtime does now and then is no part of an APDU.
func countAllocations(ctx context.Context, card *cards.Card, batches int) (ours, theirs []float64, err error) {
	echo := trip(ctx, card, echoCommand())
	if err := echo(); err != nil { // buffers grow
		return nil, nil, err
	}
	for range batches {
		theirsBefore, err := countCommand(ctx, card)
		if err != nil {
			return nil, nil, err
		}
		oursBefore := allocations()
		for range countBatch {
			if err := echo(); err != nil {
				return nil, nil, err
			}
		}
		ours = append(ours, float64((allocations()-oursBefore)/countBatch))
		theirsAfter, err := countCommand(ctx, card)
		if err != nil {
			return nil, nil, err
		}
		theirs = append(theirs, float64((theirsAfter-theirsBefore)/countBatch))
	}
	return ours, theirs, nil
}

// allocationsOf returns the allocations in this process for each trip, as countAllocations does.
func allocationsOf(trip func() error, batches int) (ours []float64, err error) {
	for range batches {
		before := allocations()
		for range countBatch {
			if err := trip(); err != nil {
				return nil, err
			}
		}
		ours = append(ours, float64((allocations()-before)/countBatch))
	}
	return ours, nil
}

func allocations() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Mallocs
}

// insCount is the instruction that a counted card answers itself: with its process's allocations, u64.
const insCount = 0xED

// countCommand asks a counted card for its allocations.
func countCommand(ctx context.Context, card *cards.Card) (uint64, error) {
	answer, _, err := card.Transmit(ctx, nil, []byte{0x80, insCount, 0, 0, 8})
	if err != nil {
		return 0, err
	}
	if len(answer) != 10 {
		return 0, fmt.Errorf("a count of %d bytes, want 10", len(answer))
	}
	return binary.BigEndian.Uint64(answer), nil
}

// countedCard is the helper that serves the software card over inherited streams, as cardsandbox does, and counts.
func countedCard(ctx context.Context) error {
	streams, err := sandbox.Inherit()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	card, err := softcard.New("", log)
	if err != nil {
		return err
	}
	return sandbox.Serve(ctx, streams, counted{card}, log)
}

type counted struct{ sandbox.Readers }

// Connect implements sandbox.Readers.
func (c counted) Connect(name string, share cardbroker.ShareMode) (sandbox.Card, error) {
	card, err := c.Readers.Connect(name, share)
	if err != nil {
		return nil, err
	}
	return countedConnection{card}, nil
}

type countedConnection struct{ sandbox.Card }

// Transmit answers insCount, and leaves the rest to the card.
func (c countedConnection) Transmit(dst, command []byte) ([]byte, error) {
	if command[1] == insCount {
		return append(binary.BigEndian.AppendUint64(dst, allocations()), 0x90, 0), nil
	}
	return c.Card.Transmit(dst, command)
}
