// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cardbroker/cardbroker/internal/run"
)

func TestFirstFailureEndsTheOthers(t *testing.T) {
	broken := errors.New("broken")
	g := run.New(t.Context())
	g.Go("waits", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	g.Go("fails", func(context.Context) error { return broken })
	if err := g.Wait(); !errors.Is(err, broken) {
		t.Errorf("Wait() = %v, want %v", err, broken)
	}
}

// TestStopWaitsAndIsNoFailure holds, too, that the cause of a stop is a cancellation: the far ends of tunnels were told of
// an internal error.
func TestStopWaitsAndIsNoFailure(t *testing.T) {
	g := run.New(t.Context())
	var cause error
	g.Go("waits", func(ctx context.Context) error { <-ctx.Done(); cause = context.Cause(ctx); return ctx.Err() })
	if err := g.Stop(); err != nil {
		t.Errorf("Stop() = %v, want nil", err)
	}
	if !errors.Is(cause, context.Canceled) {
		t.Errorf("when Stop returned the goroutine had ended by %v, want canceled", cause)
	}
}

func TestParentEndsTheGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := run.New(ctx)
	g.Go("waits", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	cancel()
	if err := g.Wait(); err != nil {
		t.Errorf("Wait() = %v, want nil", err)
	}
}
