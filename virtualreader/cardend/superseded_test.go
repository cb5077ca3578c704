// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"
	"io"
	"testing"
	"testing/synctest"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// mute is a connection over which nothing comes until it is shut down.
type mute struct{ down chan error }

func newMute() *mute { return &mute{down: make(chan error, 1)} }

func (m *mute) Send(wire.Header, []byte) error { return nil }
func (m *mute) Close() error                   { m.Shutdown(nil); return nil }

func (m *mute) Shutdown(why error) {
	select {
	case m.down <- why:
	default:
	}
}

func (m *mute) Receive() (wire.Header, []byte, error) {
	why := <-m.down
	m.down <- why
	return wire.Header{}, nil, why
}

// taking is an exchange that has just received a new connection from the attendant, which cannot see that yet.
func taking() (e *exchange, end context.CancelCauseFunc, old *mute) {
	e = newExchange(New(nil, nil), Tunnel{})
	e.lease, end = context.WithCancelCause(context.Background())
	old = newMute()
	e.supersede(attached{conn: old})
	return e, end, (<-e.next).conn.(*mute)
}

// TestSupersedeWhileTaken has a second connection come in that moment: the exchange waited for the first one's Resume, and had it been
// said, went on over a connection that its back end had left.
func TestSupersedeWhileTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, end, old := taking()
		defer end(nil)
		e.supersede(attached{conn: newMute()})
		err := e.tryOver(newLookahead(t.Context(), old), cardbroker.Secret{})
		if cardbroker.ReasonOf(err) != cardbroker.Conflict || len(e.next) != 1 {
			t.Errorf("the first connection ends with %v, want %s; %d wait, want the second one", err, cardbroker.Conflict, len(e.next))
		}
	})
}

// TestEndWhileTaken has the lease end in that moment: nobody told the new connection, and the reader was held until its back end
// had said something.
func TestEndWhileTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, end, old := taking()
		revoked := cardbroker.Errorf(cardbroker.Forbidden, "revoked")
		end(revoked)
		(&attendant{e: e}).revoke(revoked)
		if err := e.tryOver(newLookahead(t.Context(), old), cardbroker.Secret{}); err != revoked {
			t.Errorf("the connection ends with %v, want %v", err, revoked)
		}
	})
}

// TestWhyItEnds has a lease revoked while its back end's connection ends, by that or in order: which of the two was told was a matter
// of luck.
func TestWhyItEnds(t *testing.T) {
	for _, last := range []error{io.EOF, cardbroker.Errorf(cardbroker.Unavailable, "the connection is closing")} {
		e, end, conn := taking()
		revoked := cardbroker.Errorf(cardbroker.Forbidden, "revoked")
		end(revoked)
		conn.Shutdown(last)
		e.conn = newLookahead(t.Context(), conn)
		if err := e.run(t.Context(), e.lease); err != revoked {
			t.Errorf("after %v the exchange ends with %v, want %v", last, err, revoked)
		}
	}
}

// TestOpenMissesNone has a connection go from greeted to current beside who looks for connections to end.
func TestOpenMissesNone(t *testing.T) {
	e, end, old := taking()
	defer end(nil)
	conn := newLookahead(t.Context(), old)
	rounds := make(chan struct{})
	conn.group.Go("greet", func(context.Context) error {
		for range rounds {
			e.current.Store(conn)
			e.greeting.Store(nil)
			rounds <- struct{}{}
		}
		return nil
	})
	for range 100_000 {
		e.current.Store(nil)
		e.greeting.Store(conn)
		rounds <- struct{}{}
		if len(e.open()) == 0 {
			t.Fatal("a connection is seen nowhere")
		}
		<-rounds
	}
	close(rounds)
	conn.group.Wait()
}
