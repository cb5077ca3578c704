// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"context"
	"errors"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Line is our end of one stream to a process. It belongs to one asker at a time, who writes a question and reads its answer
// himself, without a goroutine between.
type Line struct {
	*wire.Stream
	seq   uint64    // of the last question
	asker run.Watch // on the context of who asked last, whose end ends his wait
}

// ErrLeft is the end of an asker before his question was sent.
var ErrLeft = errors.New("the asker left before the question was sent")

// Ask prepares a question, whose number it returns: its answer is waited for until ctx or the limit ends, which is
// [IsTimeout] then, and [ErrLeft] if ctx has ended already. The limit alone bounds how long the question is written: half a
// question would be the end of the process.
func (l *Line) Ask(ctx context.Context, limit time.Time) (seq uint64, err error) {
	deadline := limit
	if d, ok := ctx.Deadline(); ok && d.Before(limit) {
		deadline = d
	}
	l.watch(ctx)
	if err := errors.Join(l.Conn().SetWriteDeadline(limit), l.Conn().SetReadDeadline(deadline)); err != nil {
		return 0, err
	}
	if ctx.Err() != nil { // asked after the deadline was set: an end that comes later ends the wait
		return 0, ErrLeft
	}
	l.seq++
	return l.seq, nil
}

// Answer reads a frame of the answer to the last question; one to another is Internal.
func (l *Line) Answer() (wire.Header, []byte, error) {
	h, payload, err := l.Receive()
	if err == nil && h.Seq != l.seq {
		err = cardbroker.Errorf(cardbroker.Internal, "an answer has the number %d, want %d", h.Seq, l.seq)
	}
	return h, payload, err
}

// Unattended has the answer to the last question waited for until the limit, whoever asked.
func (l *Line) Unattended(limit time.Time) error {
	l.asker.End()
	return l.Conn().SetReadDeadline(limit)
}

// Rest ends the watch on who asked last, of whom nothing more comes with the same context: its end would start a goroutine for a wait that
// nobody has. Who asks again is watched again.
func (l *Line) Rest() { l.asker.End() }

// watch makes the end of ctx, and of no other, end a wait on the stream.
func (l *Line) watch(ctx context.Context) {
	if !l.asker.On(ctx) {
		l.asker.Move(ctx, func() { l.Conn().SetReadDeadline(time.Unix(1, 0)) })
	}
}

// Asked returns why an asker left: Timeout or Canceled.
func Asked(ctx context.Context) error {
	if cardbroker.ReasonOf(ctx.Err()) == cardbroker.Canceled {
		return cardbroker.Wrapf(ctx.Err(), cardbroker.Canceled, "the asker left before the answer")
	}
	return cardbroker.Wrapf(context.DeadlineExceeded, cardbroker.Timeout, "no answer in time")
}

// Await asks until there is nothing to wait for any more, or ctx ends: ask returns nil, or what to wait for before it is asked
// again.
func Await(ctx context.Context, ask func() (again <-chan error, err error)) error {
	for {
		if ctx.Err() != nil {
			return Asked(ctx)
		}
		again, err := ask()
		if err != nil || again == nil {
			return err
		}
		select {
		case err := <-again:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return Asked(ctx)
		}
	}
}
