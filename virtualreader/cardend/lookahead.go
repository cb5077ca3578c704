// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"

	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// lookahead is a tunnel's connection whose next frame can be awaited beside something else. One goroutine receives from
// it. A payload is valid until the next frame is asked for.
type lookahead struct {
	Conn
	group *run.Group
	next  chan received // nil: nobody reads ahead; capacity 1
}

// received is what Receive returned.
type received struct {
	head    wire.Header
	payload []byte
	err     error
}

func newLookahead(ctx context.Context, conn Conn) *lookahead {
	return &lookahead{Conn: conn, group: run.New(context.WithoutCancel(ctx))}
}

// Receive returns the next frame, also one that Next is still waiting for.
func (l *lookahead) Receive() (wire.Header, []byte, error) {
	if l.next == nil {
		return l.Conn.Receive()
	}
	r := l.take(<-l.next)
	return r.head, r.payload, r.err
}

// Next delivers the next frame. Whoever takes it from the channel calls take.
func (l *lookahead) Next() <-chan received {
	if l.next == nil {
		next := make(chan received, 1)
		l.next = next
		l.group.Go("read ahead", func(context.Context) error {
			head, payload, err := l.Conn.Receive()
			next <- received{head, payload, err}
			return nil
		})
	}
	return l.next
}

func (l *lookahead) take(r received) received {
	l.next = nil
	return r
}

// Close closes the connection and waits for who reads.
func (l *lookahead) Close() error {
	err := l.Conn.Close()
	l.group.Stop()
	return err
}
