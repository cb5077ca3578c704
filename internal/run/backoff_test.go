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

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run.NewBackoff(time.Second, 3*time.Second)
		wait := func(want time.Duration) {
			t.Helper()
			start := time.Now()
			if err := b.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > want || took < want*3/4 {
				t.Errorf("Wait took %v, want %v or up to a quarter less", took, want)
			}
		}
		for _, want := range []time.Duration{1, 2, 3, 3} {
			wait(want * time.Second)
		}
		b.Reset()
		wait(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Wait(ctx); err != context.Canceled {
			t.Errorf("Wait = %v, want canceled", err)
		}
	})
}
