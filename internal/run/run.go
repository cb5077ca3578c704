// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package run owns goroutines. Nothing long-lived in the program is started by a bare go statement: it is started by a
// [Group], which ends it and waits for it.
package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Group is a set of goroutines that live and end together. The first that returns an error ends the others; a panic
// ends the process, as everywhere.
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

// errStopped is the cause of a Group that was stopped, not broken.
var errStopped = errors.New("stopped")

// New returns an empty group. Its goroutines end when ctx ends, when one of them fails, or at Stop.
func New(ctx context.Context) *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	return g
}

// Context ends when the group ends.
func (g *Group) Context() context.Context { return g.ctx }

// Go starts f in a goroutine of the group. f returns soon after its ctx has ended; what it returns then does not count.
func (g *Group) Go(name string, f func(ctx context.Context) error) {
	g.wg.Go(func() {
		if err := f(g.ctx); err != nil && g.ctx.Err() == nil {
			g.cancel(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// Stop ends the group, waits for its goroutines and returns the first failure, if there was one.
func (g *Group) Stop() error {
	g.cancel(fmt.Errorf("%w: %w", errStopped, context.Canceled)) // who passes the cause on says that he was cancelled
	return g.Wait()
}

// Wait waits until all goroutines have ended by themselves, by a failure or by the group's context.
func (g *Group) Wait() error {
	g.wg.Wait()
	cause := context.Cause(g.ctx)
	g.cancel(errStopped)
	if cause == nil || errors.Is(cause, errStopped) || errors.Is(cause, context.Canceled) {
		return nil
	}
	return cause
}
