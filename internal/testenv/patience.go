// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"sync"
	"time"
)

// Patience is the context of an asker whose deadline is so long after he began to wait: counted from when somebody first looks at its
// deadline or its end. A deadline that is counted from when the test made it may be over before the question was asked, where the
// machine is busy with others.
func Patience(ctx context.Context, lasts time.Duration) context.Context {
	return &patience{Context: ctx, lasts: lasts, why: context.DeadlineExceeded, over: make(chan struct{})}
}

// Leaver is the context of an asker who has no deadline, and leaves for that reason when leave is called:
// [context.DeadlineExceeded], as if he had had one, or [context.Canceled].
func Leaver(ctx context.Context, why error) (_ context.Context, leave func()) {
	p := &patience{Context: ctx, why: why, over: make(chan struct{})}
	return p, sync.OnceFunc(func() { close(p.over) })
}

type patience struct {
	context.Context
	lasts  time.Duration
	why    error
	begins sync.Once
	ends   time.Time
	over   chan struct{}
}

func (p *patience) begin() {
	p.begins.Do(func() {
		if p.lasts == 0 {
			return
		}
		p.ends = time.Now().Add(p.lasts)
		time.AfterFunc(p.lasts, func() { close(p.over) })
	})
}

func (p *patience) Deadline() (time.Time, bool) {
	p.begin()
	return p.ends, p.lasts > 0
}

func (p *patience) Done() <-chan struct{} {
	p.begin()
	return p.over
}

func (p *patience) Err() error {
	select {
	case <-p.over:
		return p.why
	default:
		return nil
	}
}
