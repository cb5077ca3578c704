// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package run

import "context"

// Watch calls a function when the context of an asker ends. It stays from one question to the next: askers ask many times
// with one context, and to begin anew each time costs three allocations. One goroutine uses it at a time.
type Watch struct {
	done <-chan struct{} // of the context that is watched; nil: none is
	stop func() bool
	told chan struct{} // closed when the function has returned
}

// On says whether the watch is on this context, or on another that ends with it.
func (w *Watch) On(ctx context.Context) bool { return w.done == ctx.Done() }

// Move ends the watch, and begins one on ctx: when it ends, end is called in a goroutine of its own.
func (w *Watch) Move(ctx context.Context, end func()) {
	w.End()
	if ctx.Done() == nil {
		return
	}
	told := make(chan struct{})
	w.done, w.told = ctx.Done(), told
	w.stop = context.AfterFunc(ctx, func() {
		defer close(told)
		end()
	})
}

// End ends the watch. If its context has just ended, it waits until the function has returned.
func (w *Watch) End() {
	if w.done != nil && !w.stop() {
		<-w.told
	}
	*w = Watch{}
}
