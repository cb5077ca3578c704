// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscbed

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/testenv"
)

// New starts a bed of two readers, a card in the first, for a test, and returns a context of a minute for what is asked of it.
func New(t testing.TB) (context.Context, *Bed) {
	t.Helper()
	if err := Supported(); err != nil {
		testenv.Skip(t, err.Error())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	bed, err := Start(ctx, Config{Dir: filepath.Join(t.TempDir(), "bed"), Readers: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bed.Stop(); err != nil {
			t.Errorf("Stop() = %v", err)
		}
	})
	if err := bed.Insert(ctx, 0, Card{}); err != nil {
		t.Fatal(err)
	}
	return ctx, bed
}
