// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"sync/atomic"
)

// gate lets pass while it is open, and tells those who have passed when it closes. One goroutine opens and closes it.
type gate struct{ now atomic.Pointer[opening] }

// opening is the time from an opening to the close that ends its context, with the reason as the cause.
type opening struct {
	ctx   context.Context
	close context.CancelCauseFunc
}

// newGate returns a gate that is open.
func newGate() *gate {
	g := &gate{}
	g.open()
	return g
}

// open opens the gate, if it is closed.
func (g *gate) open() {
	if now := g.now.Load(); now == nil || now.ctx.Err() != nil {
		o := &opening{}
		o.ctx, o.close = context.WithCancelCause(context.Background())
		g.now.Store(o)
	}
}

// close closes the gate; the first reason counts. It is safe to show.
func (g *gate) close(why error) { g.now.Load().close(why) }

// closed returns why the gate is closed; nil: it is open.
func (g *gate) closed() error { return context.Cause(g.now.Load().ctx) }

// enter returns a context that ends with ctx or when the gate closes, or the reason why it is closed. Who has entered
// leaves.
func (g *gate) enter(ctx context.Context) (inside context.Context, leave func(), err error) {
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
