// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker/internal/run"
)

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if !run.Pause(t.Context(), time.Minute) || time.Since(start) != time.Minute {
			t.Errorf("a pause of a minute took %v, or was ended", time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if run.Pause(ctx, time.Minute) || time.Since(start) != time.Minute+time.Second {
			t.Errorf("a pause that is ended after a second ends after %v, or goes on", time.Since(start)-time.Minute)
		}
	})
}

func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, enough, calls := time.Now(), errors.New("enough"), 0
		err := run.Every(t.Context(), time.Minute, func() error {
			if calls++; calls == 3 {
				return enough
			}
			return nil
		})
		if err != enough || time.Since(start) != 3*time.Minute {
			t.Errorf("Every = %v after %v, want %v after three minutes", err, time.Since(start), enough)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := run.Every(ctx, time.Minute, func() error { return enough }); err != nil || calls != 3 {
			t.Errorf("Every = %v where ctx ends first, want nil", err)
		}
	})
}
