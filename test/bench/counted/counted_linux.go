// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package counted

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"runtime"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
)

// Batch is how many APDUs there are between two counts.
const Batch = 1000

// PerTrip returns the allocations in this process for each trip, batch by batch, whole ones as testing.AllocsPerRun does.
func PerTrip(trip func() error, batches int) (ours []float64, err error) {
	for range batches {
		before := Allocations()
		for range Batch {
			if err := trip(); err != nil {
				return nil, err
			}
		}
		ours = append(ours, float64((Allocations()-before)/Batch))
	}
	return ours, nil
}

// Allocations is how many there were in this process.
func Allocations() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Mallocs
}

// insCount is the instruction that a counted card answers itself: with its process's allocations, u64.
const insCount = 0xED

// Ask asks a counted card for the allocations of its process.
func Ask(ctx context.Context, card *cards.Card) (uint64, error) {
	answer, _, err := card.Transmit(ctx, nil, []byte{0x80, insCount, 0, 0, 8})
	if err != nil {
		return 0, err
	}
	if len(answer) != 10 {
		return 0, fmt.Errorf("a count of %d bytes, want 10", len(answer))
	}
	return binary.BigEndian.Uint64(answer), nil
}

// Both returns the allocations for each APDU, here and in the process of a counted card, whole ones as testing.AllocsPerRun does: what
// the runtime does now and then is no part of an APDU.
func Both(ctx context.Context, card *cards.Card, echo func() error, batches int) (ours, theirs []float64, err error) {
	if err := echo(); err != nil { // buffers grow
		return nil, nil, err
	}
	for range batches {
		theirsBefore, err := Ask(ctx, card)
		if err != nil {
			return nil, nil, err
		}
		oursBefore := Allocations()
		for range Batch {
			if err := echo(); err != nil {
				return nil, nil, err
			}
		}
		ours = append(ours, float64((Allocations()-oursBefore)/Batch))
		theirsAfter, err := Ask(ctx, card)
		if err != nil {
			return nil, nil, err
		}
		theirs = append(theirs, float64((theirsAfter-theirsBefore)/Batch))
	}
	return ours, theirs, nil
}

// Serve serves the software card over inherited streams, as cardsandbox does, and counts.
func Serve(ctx context.Context) error {
	streams, err := sandbox.Inherit()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	card, err := softcard.New("", log)
	if err != nil {
		return err
	}
	return sandbox.Serve(ctx, streams, counting{card}, log)
}

type counting struct{ sandbox.Readers }

// Connect implements sandbox.Readers.
func (c counting) Connect(name string, share cardbroker.ShareMode) (sandbox.Card, error) {
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
		return append(binary.BigEndian.AppendUint64(dst, Allocations()), 0x90, 0), nil
	}
	return c.Card.Transmit(dst, command)
}
