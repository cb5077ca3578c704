// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package gate lets the work of an agent pass while the state of its session allows it, and ends what has passed when it does not.
package gate

import (
	"context"
	"sync/atomic"
)

// Gate lets pass while it is open, and tells those who have passed when it closes. One goroutine opens and closes it.
type Gate struct{ now atomic.Pointer[opening] }

// opening is the time from an opening to the close that ends its context, with the reason as the cause.
type opening struct {
	ctx   context.Context
	close context.CancelCauseFunc
}

// New returns a gate that is open.
func New() *Gate {
	g := &Gate{}
	g.Open()
	return g
}

// Open opens the gate, if it is closed.
func (g *Gate) Open() {
	if now := g.now.Load(); now == nil || now.ctx.Err() != nil {
		o := &opening{}
		o.ctx, o.close = context.WithCancelCause(context.Background())
		g.now.Store(o)
	}
}

// Close closes the gate; the first reason counts. It is safe to show.
func (g *Gate) Close(why error) { g.now.Load().close(why) }

// Closed returns why the gate is closed; nil: it is open.
func (g *Gate) Closed() error { return context.Cause(g.now.Load().ctx) }

// Enter returns a context that ends with ctx or when the gate closes, or the reason why it is closed. Who has entered
// leaves.
func (g *Gate) Enter(ctx context.Context) (inside context.Context, leave func(), err error) {
	o := g.now.Load()
	inside, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(o.ctx, func() { end(context.Cause(o.ctx)) })
	if err := context.Cause(o.ctx); err != nil {
		stop()
		end(err)
		return nil, nil, err
	}
	return inside, func() { stop(); end(nil) }, nil
}
