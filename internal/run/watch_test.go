// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/cardbroker/cardbroker/internal/run"
)

func TestWatchCallsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w run.Watch
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		w.Move(ctx, func() { calls++ })
		if !w.On(ctx) || w.On(t.Context()) || w.On(context.Background()) {
			t.Error("the watch does not know which context it is on")
		}
		cancel()
		synctest.Wait()
		w.End()
		w.End() // nothing left to end
		if calls != 1 || w.On(ctx) {
			t.Errorf("%d calls, on the context: %v, want one call and an end", calls, w.On(ctx))
		}
	})
}

// TestWatchMoves has contexts end that were watched before: they are nobody's business any more.
func TestWatchMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w run.Watch
		first, cancelFirst := context.WithCancel(t.Context())
		second, cancelSecond := context.WithCancel(t.Context())
		w.Move(first, func() { t.Error("the first context is still watched") })
		w.Move(second, func() { t.Error("the second context is still watched") })
		cancelFirst()
		w.Move(context.Background(), func() { t.Error("called, though this context never ends") })
		cancelSecond()
		synctest.Wait()
	})
}

// TestWatchEndWaits ends a watch whose function is under way.
func TestWatchEndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w run.Watch
		ctx, cancel := context.WithCancel(t.Context())
		proceed := make(chan struct{})
		returned, ended := false, false
		w.Move(ctx, func() {
			<-proceed
			returned = true
		})
		cancel()
		synctest.Wait()
		go func() {
			w.End()
			ended = true
		}()
		synctest.Wait()
		if ended {
			t.Error("End did not wait for the function")
		}
		close(proceed)
		synctest.Wait()
		if !returned || !ended {
			t.Errorf("the function has returned: %v, End: %v, want both", returned, ended)
		}
	})
}

func TestWatchOnTheSameContextAllocatesNothing(t *testing.T) {
	var w run.Watch
	defer w.End()
	w.Move(t.Context(), func() {})
	if n := testing.AllocsPerRun(100, func() { w.On(t.Context()) }); n != 0 {
		t.Errorf("On costs %v allocations, want 0", n)
	}
}
