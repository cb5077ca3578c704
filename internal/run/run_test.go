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

func TestStopWaitsAndIsNoFailure(t *testing.T) {
	g := run.New(t.Context())
	ended := false
	g.Go("waits", func(ctx context.Context) error { <-ctx.Done(); ended = true; return ctx.Err() })
	if err := g.Stop(); err != nil {
		t.Errorf("Stop() = %v, want nil", err)
	}
	if !ended {
		t.Error("Stop returned before the goroutine had ended")
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
