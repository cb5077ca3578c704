// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"context"
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
