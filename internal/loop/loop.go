// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package loop is the one shape of mutable state in the program: a goroutine that owns it and a bounded mailbox of
// commands. The loop drains its mailbox into a batch, applies the batch in memory, commits it once, and then answers.
// Readers do not come here: they load the View that Commit publishes.
package loop

import (
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
)

const (
	mailboxSize = 2048 // a logon storm of 1,000 agents fits; 16 KiB
	batchSize   = 256  // more would make the first asker of a batch wait for the last
)

// Owner is the state behind a [Loop]. All its methods are called by the loop's goroutine only. T is one batch's
// transaction: what it changes is dropped when Commit fails.
type Owner[T any] interface {
	// Begin starts a batch.
	Begin() T
	// Commit makes the batch's changes last and publishes them, or returns why not; it may do I/O.
	Commit(ctx context.Context, tx T) error
	// Deadline returns when Tick is due; zero: never. The loop keeps no timer while nothing is due. What was due is due
	// again at once when its batch fails, so an owner whose Commit fails returns a time to come: only it knows when to
	// try again.
	Deadline() time.Time
	// Tick does what is due at now, as part of a batch.
	Tick(tx T, now time.Time)
}

// Loop gives commands to an [Owner], one batch at a time. Make it with [New].
type Loop[T any] struct {
	mailbox chan *command[T]
	ended   chan struct{} // closed when Run returns
}

type command[T any] struct {
	ctx   context.Context
	apply func(tx T) error
	err   error
	done  chan error // capacity 1: an answer never blocks the loop
}

// New returns a loop whose mailbox is empty. Commands wait in it until [Loop.Run] is called.
func New[T any]() *Loop[T] {
	return &Loop[T]{mailbox: make(chan *command[T], mailboxSize), ended: make(chan struct{})}
}

// Do has apply run in the loop and returns its error once the batch is committed. apply touches memory only, checks
// before it changes anything, and may run after Do has returned because ctx ended. A full mailbox is Overloaded at once;
// a loop that has ended, or a commit that failed, Unavailable.
func (l *Loop[T]) Do(ctx context.Context, apply func(tx T) error) error {
	c := &command[T]{ctx: ctx, apply: apply, done: make(chan error, 1)}
	select {
	case <-l.ended:
		return cardbroker.Errorf(cardbroker.Unavailable, "shutting down")
	default:
	}
	select {
	case l.mailbox <- c:
	default:
		return cardbroker.Errorf(cardbroker.Overloaded, "too many requests are waiting; try again")
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
	case <-l.ended:
	}
	select {
	case err := <-c.done: // an answer that is there counts
		return err
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return cardbroker.Errorf(cardbroker.Unavailable, "shutting down")
}

// Must is [Loop.Do] for what cannot be left undone, such as forgetting an asker that has left: it waits for room in a full
// mailbox, and then for the batch. It fails only when the loop has ended, or as apply or the commit does.
func (l *Loop[T]) Must(apply func(tx T) error) error {
	c := &command[T]{ctx: context.Background(), apply: apply, done: make(chan error, 1)}
	select {
	case l.mailbox <- c:
	case <-l.ended:
		return cardbroker.Errorf(cardbroker.Unavailable, "shutting down")
	}
	select {
	case err := <-c.done:
		return err
	case <-l.ended:
		return cardbroker.Errorf(cardbroker.Unavailable, "shutting down")
	}
}

// Run serves the mailbox until ctx ends. It is called once, and is the only goroutine that calls the owner.
func (l *Loop[T]) Run(ctx context.Context, owner Owner[T]) error {
	defer close(l.ended)
	batch := make([]*command[T], 0, batchSize)
	for {
		batch = batch[:0]
		due, stop := after(owner.Deadline())
		select {
		case c := <-l.mailbox:
			batch = append(batch, c)
		case <-due:
		case <-ctx.Done():
			stop()
			return nil
		}
		stop()
		l.serve(ctx, owner, l.drain(batch))
		clear(batch[:cap(batch)]) // keep no asker's data alive while idle
	}
}

// drain adds what already waits to the batch, without waiting for more.
func (l *Loop[T]) drain(batch []*command[T]) []*command[T] {
	for len(batch) < batchSize {
		select {
		case c := <-l.mailbox:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// serve applies and commits one batch, then answers: an asker is told of success only when it will last.
func (l *Loop[T]) serve(ctx context.Context, owner Owner[T], batch []*command[T]) {
	tx := owner.Begin()
	if due := owner.Deadline(); !due.IsZero() && !time.Now().Before(due) {
		owner.Tick(tx, time.Now())
	}
	for _, c := range batch {
		if c.err = c.ctx.Err(); c.err == nil { // an asker that has left wants nothing any more
			c.err = c.apply(tx)
		}
	}
	failed := owner.Commit(ctx, tx)
	for _, c := range batch {
		if c.err == nil {
			c.err = failed
		}
		c.done <- c.err
	}
}

// after returns a channel that delivers at the time t, and what to call when it is no longer wanted. With a zero t there
// is no timer and the channel is nil.
func after(t time.Time) (<-chan time.Time, func() bool) {
	if t.IsZero() {
		return nil, func() bool { return true }
	}
	timer := time.NewTimer(time.Until(t))
	return timer.C, timer.Stop
}
