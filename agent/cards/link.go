// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker/agent/child"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// link is our end of the stream of one reader. It belongs to who has the turn: he writes a question and reads its answer
// himself, without a goroutine between.
type link struct {
	process *process
	line    *child.Line   // of who has the turn
	turn    chan struct{} // capacity 1: one inside while somebody has the turn
	by      atomic.Int32  // the party of who has it, or had it last
	holder  *Card         // the back end's; of who has the turn

	// Owned by the loop.
	claimed bool // a back end's Card is open on it
	sole    bool // and shares the reader with nobody
	turns   int  // local programs that have a turn, or wait for one
}

// exchange sends a question and waits for its answer until ctx or the limit ends; both are then [os.ErrDeadlineExceeded],
// or child.ErrLeft if nothing was sent yet. sent says whether the child may have read the whole question.
func (l *link) exchange(ctx context.Context, limit time.Time, h wire.Header, payload []byte) (answer wire.Header, p []byte, sent bool, err error) {
	if h.Seq, err = l.line.Ask(ctx, limit); err != nil {
		return wire.Header{}, nil, false, err
	}
	if err := l.line.Send(h, payload); err != nil {
		return wire.Header{}, nil, false, err
	}
	answer, p, err = l.line.Answer()
	return answer, p, true, err
}

// awaitLate takes an answer that nobody wants any more.
func (l *link) awaitLate(limit time.Time) error {
	if err := l.line.Unattended(limit); err != nil {
		return err
	}
	_, _, err := l.line.Answer()
	return err
}
