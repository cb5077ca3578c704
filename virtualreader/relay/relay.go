// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package relay joins the two legs of a tunnel: what arrives on one is written to the other. It does not look into
// messages, keeps none, and has no queue: a leg that does not take a message holds up the other leg, until its write
// deadline ends the tunnel.
package relay

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/cardbroker/cardbroker/internal/run"
)

// Leg is one side of a tunnel. It may lead to a socket of this host, to a back end, or to another machine's relay. A
// socket.Conn is one.
type Leg interface {
	// Next returns the next message, valid until the next call, or why there are no more: io.EOF for a regular end.
	Next() ([]byte, error)
	// Write sends a message, within a deadline of its own.
	Write(message []byte) error
	// Shutdown tells the other side why the tunnel ends, and makes Next end soon. Only the first call counts.
	Shutdown(why error)
	Close() error
}

// Traffic counts what went through a tunnel in one direction.
type Traffic struct {
	Frames uint64
	Bytes  uint64
}

// Splice joins a and b until one of them ends or ctx does, passes the reason on to the other, and closes both. When it
// returns, nothing of it runs any more. It returns what went from a to b and from b to a, and what ended the tunnel: nil
// for a regular end of either side.
func Splice(ctx context.Context, a, b Leg) (forth, back Traffic, err error) {
	ctx, end := context.WithCancelCause(ctx)
	told := make(chan struct{})
	context.AfterFunc(ctx, func() { // no goroutine waits while the tunnel lives
		defer close(told)
		a.Shutdown(context.Cause(ctx))
		b.Shutdown(context.Cause(ctx))
	})
	var unwritten atomic.Pointer[error]
	lose := func(leg Leg, err error) {
		unwritten.CompareAndSwap(nil, &err)
		leg.Shutdown(err) // so that who reads from it hears soon what it said last
	}
	over := func(err error) {
		if lost := unwritten.Load(); lost != nil && !errors.Is(err, io.EOF) {
			err = *lost
		}
		end(err)
	}
	group := run.New(context.WithoutCancel(ctx))
	group.Go("back", func(context.Context) error {
		pump(a, b, &back, over, lose)
		return nil
	})
	pump(b, a, &forth, over, lose)
	group.Wait()
	over(nil) // nobody has said so if neither leg took a message
	<-told
	a.Close()
	b.Close()
	if err = context.Cause(ctx); errors.Is(err, io.EOF) {
		err = nil
	}
	return forth, back, err
}

// pump writes what arrives from one leg to the other, straight from the reading goroutine: a writer goroutine between
// them would cost a wake-up for each message. The end of from is over's; a message that to does not take is lose's, for a leg that
// has ended in order says so to who reads from it.
func pump(to, from Leg, t *Traffic, over func(error), lose func(Leg, error)) {
	for {
		message, err := from.Next()
		if err != nil {
			over(err)
			return
		}
		if err := to.Write(message); err != nil {
			clear(message) // nobody asks for the next, and it may hold a PIN
			lose(to, err)
			return
		}
		t.Frames++
		t.Bytes += uint64(len(message))
	}
}
