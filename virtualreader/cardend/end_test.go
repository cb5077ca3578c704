// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// TestNothingAfterRevoke sends a command right after the word that the lease has ended: the card executed one more, whose
// answer nobody got.
func TestNothingAfterRevoke(t *testing.T) {
	a := newAgent(t)
	b := a.open("alpha")
	b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	if err := a.leases.Revoke(t.Context(), a.leases.List()[0].Tunnel, "the user has ended it"); err != nil {
		t.Fatal(err)
	}
	b.expect(wire.TypeRevoked, 0)
	b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: 3}, selectCommand)
	b.over(cardbroker.Forbidden)
	if n := a.reader.Executed(); n != 1 {
		t.Errorf("the card has seen %d commands, want the 1 before the end", n)
	}
}

// TestCardIsResetForTheNext has a back end leave the card as it made it and end the tunnel: the next tenant's found it so,
// with whatever had been authenticated.
func TestCardIsResetForTheNext(t *testing.T) {
	for name, leave := range map[string]func(*backEnd, *cardtest.Reader){
		"by Disconnect": func(b *backEnd, _ *cardtest.Reader) {
			b.ask(wire.TypeDisconnect, wire.AppendDisposition(nil, cardbroker.LeaveCard), wire.TypeDone)
		},
		"by Connect that fails": func(b *backEnd, r *cardtest.Reader) {
			r.Remove()
			b.refused(wire.TypeConnect, wire.Connect{Share: cardbroker.ShareShared}.Append(nil), cardbroker.CardAbsent)
			r.Insert()
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t)
			b := a.open("alpha")
			b.t = t
			b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
			leave(b, a.reader)
			if d := a.reader.LastClose(); d == nil || *d != cardbroker.LeaveCard {
				t.Fatalf("the card was closed with %v, want %d", d, cardbroker.LeaveCard)
			}
			b.conn.Shutdown(nil)
			b.over("")
			if d := a.reader.LastClose(); *d != cardbroker.ResetCard || a.reader.Connections() != 0 {
				t.Errorf("after the tunnel the card was closed with %d, %d connections; want %d, none", *d, a.reader.Connections(), cardbroker.ResetCard)
			}
		})
	}
}

// TestAfterAnIndeterminateCommand sends more commands: they do not reach the card, and each was said to be indeterminate,
// too, so that a back end could not tell what had run.
func TestAfterAnIndeterminateCommand(t *testing.T) {
	a := newAgent(t)
	b := a.open("alpha")
	a.reader.Lose()
	b.refused(wire.TypeAPDU, selectCommand, cardbroker.Indeterminate)
	for range 2 {
		b.refused(wire.TypeAPDU, selectCommand, cardbroker.CardReset)
	}
	b.refused(wire.TypeBegin, nil, cardbroker.CardReset)
	if n := a.reader.Executed(); n != 1 {
		t.Errorf("the card has seen %d commands, want the 1 that was lost", n)
	}
	b.ask(wire.TypeConnect, wire.Connect{Share: cardbroker.ShareShared}.Append(nil), wire.TypeConnected)
	b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
}

// deaf is a connection whose other end has closed it: as on a Unix socket, nothing can be sent from then on, and what the other
// side said last can be read.
type deaf struct {
	cardend.Conn
	closed atomic.Bool
}

func (d *deaf) Send(h wire.Header, payload []byte) error {
	if d.closed.Load() {
		return cardbroker.Errorf(cardbroker.Unavailable, "the connection was cut")
	}
	return d.Conn.Send(h, payload)
}

// TestBackEndLeavesDuringACommand has a back end end its tunnel in order while the card works: its lease was kept for the time
// in which one comes back whose connection was cut, as its answer could not be sent.
func TestBackEndLeavesDuringACommand(t *testing.T) {
	a := newAgent(t)
	near, far, _ := a.dial()
	conn := &deaf{Conn: near}
	tunnel := a.reader.Tunnel("alpha")
	tunnel.Route = agentRoute
	b := &backEnd{t: t, conn: far, done: make(chan error, 1)}
	go func() { b.done <- a.holder.Serve(a.ctx, conn, tunnel) }()
	b.ask(wire.TypeHello, wire.Hello{Share: cardbroker.ShareShared, Durability: cardbroker.DurabilityCrash}.Append(nil), wire.TypeWelcome)
	gate := a.reader.Hold()
	b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: 2, Ack: 1}, selectCommand)
	release := <-gate
	b.conn.Close()
	conn.closed.Store(true)
	close(release)
	select {
	case err := <-b.done:
		if err != nil || len(a.leases.List()) != 0 {
			t.Errorf("Serve = %v, %d leases, want a regular end and none", err, len(a.leases.List()))
		}
	case <-time.After(10 * time.Second):
		t.Error("the lease waits for a back end that has left")
	}
}
