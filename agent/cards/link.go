// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// link is our end of the stream of one reader. It belongs to who has the turn: he writes a question and reads its answer
// himself, without a goroutine between.
type link struct {
	child  *child
	stream *wire.Stream
	seq    uint64
	turn   chan struct{} // capacity 1: one inside while somebody has the turn
	by     atomic.Int32  // the party of who has it, or had it last
	holder *Card         // the back end's; of who has the turn
	asker  run.Watch     // on the context of who asked last, whose end ends his wait; of who has the turn

	// Owned by the loop.
	claimed bool // a back end's Card is open on it
	sole    bool // and shares the reader with nobody
	turns   int  // local programs that have a turn, or wait for one
}

// errLeft is the end of an asker before his question was sent.
var errLeft = errors.New("the asker left before the question was sent")

// exchange sends a question and waits for its answer until ctx or the limit ends; both are then [os.ErrDeadlineExceeded],
// or errLeft if nothing was sent yet. sent says whether the child may have read the whole question.
func (l *link) exchange(ctx context.Context, limit time.Time, h wire.Header, payload []byte) (answer wire.Header, p []byte, sent bool, err error) {
	deadline := limit
	if d, ok := ctx.Deadline(); ok && d.Before(limit) {
		deadline = d
	}
	l.watch(ctx)
	conn := l.stream.Conn()
	if err := errors.Join(conn.SetWriteDeadline(limit), conn.SetReadDeadline(deadline)); err != nil {
		return wire.Header{}, nil, false, err
	}
	if ctx.Err() != nil { // asked after the deadline was set: an end that comes later ends the wait
		return wire.Header{}, nil, false, errLeft
	}
	l.seq++
	h.Seq = l.seq
	if err := l.stream.Send(h, payload); err != nil {
		return wire.Header{}, nil, false, err
	}
	answer, p, err = l.receive()
	return answer, p, true, err
}

// receive reads the answer to the last question.
func (l *link) receive() (wire.Header, []byte, error) {
	h, payload, err := l.stream.Receive()
	if err == nil && h.Seq != l.seq {
		err = cardbroker.Errorf(cardbroker.Internal, "an answer has the number %d, want %d", h.Seq, l.seq)
	}
	return h, payload, err
}

// awaitLate takes an answer that nobody wants any more.
func (l *link) awaitLate(limit time.Time) error {
	l.asker.End()
	if err := l.stream.Conn().SetReadDeadline(limit); err != nil {
		return err
	}
	_, _, err := l.receive()
	return err
}

// watch makes the end of ctx, and of no other, end a wait on the stream.
func (l *link) watch(ctx context.Context) {
	if !l.asker.On(ctx) {
		l.asker.Move(ctx, func() {
			l.stream.Conn().SetReadDeadline(time.Unix(1, 0)) // a question that is half written would be the child's end
		})
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
