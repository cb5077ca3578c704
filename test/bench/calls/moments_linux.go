// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"context"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker/api"
)

// eventLimit is how long an event is waited for.
const eventLimit = 10 * time.Second

// Moments are when cards were put in, as somebody was told.
type Moments chan time.Time

// Write is for the card, which tells so by a byte. There is room for that.
func (m Moments) Write(p []byte) (int, error) {
	m <- time.Now()
	return len(p), nil
}

// Take is for a subscriber.
func (m Moments) Take(ctx context.Context, event string) error {
	if event != api.EventCardIn {
		return nil
	}
	select {
	case m <- time.Now():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Next waits for the next event.
func (m Moments) Next(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, eventLimit)
	defer cancel()
	select {
	case at := <-m:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("no event tells of a card: %w", ctx.Err())
	}
}
