// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff waits longer after each failure, by chance up to a quarter less, so that a thousand programs do not come at once. It is used by one
// goroutine at a time. Make it with [NewBackoff].
type Backoff struct{ first, next, longest time.Duration }

// NewBackoff returns a Backoff that waits first, then twice as long each time, and longest at most.
func NewBackoff(first, longest time.Duration) *Backoff {
	return &Backoff{first: first, next: first, longest: longest}
}

// Wait waits, or returns ctx's error.
func (b *Backoff) Wait(ctx context.Context) error {
	delay := b.next
	b.next = min(2*delay, b.longest)
	if !Pause(ctx, delay-rand.N(delay/4)) {
		return ctx.Err()
	}
	return nil
}

// Reset has the next wait be the first.
func (b *Backoff) Reset() { b.next = b.first }
