// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

var selectCommand = []byte{0x00, 0xA4, 0x04, 0x00, 0x02, 0xA0, 0x00}

func TestTunnel(t *testing.T) {
	d := newDoor(t)
	tunnel := d.open(t)
	ctx := t.Context()
	if tunnel.Reader != cardtest.ReaderName || tunnel.Lease != 5*time.Minute || len(tunnel.ID) != 32 {
		t.Errorf("the tunnel says %q, %v, %q", tunnel.Reader, tunnel.Lease, tunnel.ID)
	}
	card, err := tunnel.Connect(ctx, cardbroker.ShareExclusive)
	if err != nil || string(card.ATR) != cardtest.ATR || card.Protocol != cardbroker.ProtocolT1 {
		t.Errorf("Connect = %+v, %v", card, err)
	}
	if err := tunnel.Begin(ctx); err != nil {
		t.Errorf("Begin = %v", err)
	}
	a, err := tunnel.Transmit(ctx, selectCommand)
	if err != nil || !bytes.Equal(a.Response, append(bytes.Clone(selectCommand), 0x90, 0)) {
		t.Errorf("Transmit = % x, %v", a.Response, err)
	}
	if a.Card != time.Millisecond || a.Total <= 0 || a.Network != max(0, a.Total-a.Agent) {
		t.Errorf("the times are %+v", a)
	}
	if err := tunnel.End(ctx, cardbroker.LeaveCard); err != nil {
		t.Errorf("End = %v", err)
	}
	if got, err := tunnel.Renew(ctx, 10*time.Minute); err != nil || got != 10*time.Minute {
		t.Errorf("Renew = %v, %v", got, err)
	}
	_, err = tunnel.Transmit(ctx, []byte{0, 0x20, 0, 1, 4, '1', '2', '3', '4'})
	if cardbroker.ReasonOf(err) != cardbroker.Forbidden || cardbroker.RuleOf(err) != cardbroker.RuleFirewall {
		t.Errorf("VERIFY = %v, want %s by the firewall", err, cardbroker.Forbidden)
	}
	if _, err := tunnel.Transmit(ctx, make([]byte, wire.MaxPayload+1)); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("Transmit of too much = %v, want %s", err, cardbroker.Invalid)
	}
	if err := tunnel.Disconnect(ctx, cardbroker.LeaveCard); err != nil {
		t.Errorf("Disconnect = %v", err)
	}
	tunnel.Close()
	if _, err := tunnel.Transmit(ctx, selectCommand); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Transmit after Close = %v, want %s", err, cardbroker.Unavailable)
	}
}

// TestTunnelTakesTurns has many callers at once, some of whom come when the tunnel has been idle.
func TestTunnelTakesTurns(t *testing.T) {
	d := newDoor(t)
	tunnel := d.open(t)
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			command := []byte{0, 0xA4, byte(i), 0}
			for range 50 {
				a, err := tunnel.Transmit(t.Context(), command)
				if err != nil || !bytes.Equal(a.Response, append(bytes.Clone(command), 0x90, 0)) {
					t.Errorf("caller %d: % x, %v", i, a.Response, err)
					return
				}
			}
		})
	}
	callers.Wait()
	if n := d.reader.Executed(); n != 400 {
		t.Errorf("the card has seen %d commands, want 400", n)
	}
}

// TestManyAskOverCutConnections has many callers at once, some of whom come when the tunnel has been idle, while the connection is
// cut at any moment: each of their commands reaches the card once.
func TestManyAskOverCutConnections(t *testing.T) {
	d := newDoor(t)
	tunnel := d.open(t)
	var callers, cutter sync.WaitGroup
	stop := make(chan struct{})
	cutter.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for cut := 0; ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if n := d.reader.Executed(); n >= cut+10 {
				cut = n
				d.wires.cut()
			}
		}
	})
	for i := range 8 {
		callers.Go(func() {
			command := []byte{0, 0xA4, byte(i), 0}
			for n := range 50 {
				if i == 0 && n%4 == 0 { // often, however seldom the cutter has its turn
					d.wires.cut() // also when nobody asks
				}
				a, err := tunnel.Transmit(t.Context(), command)
				if err != nil || !bytes.Equal(a.Response, append(bytes.Clone(command), 0x90, 0)) {
					t.Errorf("caller %d: % x, %v", i, a.Response, err)
					return
				}
			}
		})
	}
	callers.Wait()
	close(stop)
	cutter.Wait()
	if n := d.reader.Executed(); n != 400 || tunnel.Resumed() < 10 {
		t.Errorf("the card has executed %d commands and the tunnel was resumed %d times, want 400 and often", n, tunnel.Resumed())
	}
}

// TestEventsBetweenCommands holds that events are seen while nobody asks, and that commands go on after that.
func TestEventsBetweenCommands(t *testing.T) {
	d := newDoor(t)
	tunnel := d.open(t)
	if e := <-tunnel.Events(); e.Card == nil {
		t.Error("the first event says that there is no card")
	}
	for range 3 {
		if _, err := tunnel.Connect(t.Context(), cardbroker.ShareShared); err != nil {
			t.Fatal(err)
		}
		d.reader.Remove()
		if e := <-tunnel.Events(); e.Card != nil {
			t.Errorf("the event is %+v, want no card", e)
		}
		if _, err := tunnel.Transmit(t.Context(), selectCommand); cardbroker.ReasonOf(err) != cardbroker.CardRemoved {
			t.Errorf("Transmit = %v, want %s", err, cardbroker.CardRemoved)
		}
		d.reader.Insert()
		if e := <-tunnel.Events(); e.Card == nil || string(e.Card.ATR) != cardtest.ATR {
			t.Errorf("the event is %+v, want a card", e)
		}
	}
}

// TestNewerEventsReplaceOlder holds that who does not take events holds up nothing.
func TestNewerEventsReplaceOlder(t *testing.T) {
	d := newDoor(t)
	tunnel := d.open(t)
	for range 20 {
		d.reader.Remove()
		d.reader.Insert()
		if _, err := tunnel.Connect(t.Context(), cardbroker.ShareShared); err != nil {
			t.Fatal(err)
		}
	}
	for e := range tunnel.Events() { // the last of them, or one that is still on its way
		if e.Card != nil {
			break
		}
	}
}

// TestCardsWhileAway changes the card while the back end cannot be told of it.
func TestCardsWhileAway(t *testing.T) {
	tests := []struct {
		name   string
		change func(d *door)
		card   bool // what is told; else that there is none
		event  bool // something is told
	}{
		{"nothing happens", func(*door) {}, false, false},
		{"the card is taken out", func(d *door) { d.reader.Remove() }, false, true},
		{"another one is put in", func(d *door) { d.reader.Replace() }, true, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := newDoor(t)
			tunnel := d.open(t)
			<-tunnel.Events()
			d.away.Store(true)
			d.wires.cut()
			test.change(d)
			d.away.Store(false)
			for late := time.After(20 * time.Second); test.event; { // of one that was replaced both may be seen
				select {
				case e := <-tunnel.Events():
					if (e.Card != nil) == test.card {
						return
					}
				case <-late:
					t.Fatalf("no event came: %v", tunnel.Err())
				}
			}
			if _, err := tunnel.Attribute(t.Context(), 0x00090303); err != nil { // so that it has read what was sent
				t.Errorf("Attribute = %v", err)
			}
			select {
			case e := <-tunnel.Events():
				t.Errorf("the event is %+v, want none", e)
			default:
			}
			if tunnel.Resumed() != 1 {
				t.Errorf("resumed %d times", tunnel.Resumed())
			}
		})
	}
}

// TestCancel ends a command's context while the card has it: the caller is free at once, and the tunnel is over.
func TestCancel(t *testing.T) {
	for _, idle := range []bool{false, true} { // whether the attendant reads when the command comes
		d := newDoor(t)
		tunnel := d.open(t)
		if idle {
			d.reader.Remove()
			<-tunnel.Events()
			d.reader.Insert()
			<-tunnel.Events()
		}
		gate := d.reader.Hold()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { _, err := tunnel.Transmit(ctx, selectCommand); ended <- err }()
		release := <-gate
		cancel()
		if err := <-ended; cardbroker.ReasonOf(err) != cardbroker.Indeterminate || !errors.Is(err, context.Canceled) {
			t.Errorf("Transmit = %v, want %s because of %v", err, cardbroker.Indeterminate, context.Canceled)
		}
		if _, err := tunnel.Transmit(t.Context(), selectCommand); !errors.Is(err, context.Canceled) {
			t.Errorf("Transmit afterwards = %v, want %v", err, context.Canceled)
		}
		close(release)
		tunnel.Close()
	}
	d := newDoor(t)
	tunnel := d.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tunnel.Transmit(ctx, selectCommand); !errors.Is(err, context.Canceled) || d.reader.Executed() != 0 {
		t.Errorf("Transmit with an ended context = %v, want %v and nothing sent", err, context.Canceled)
	}
	if _, err := tunnel.Transmit(t.Context(), selectCommand); err != nil {
		t.Errorf("Transmit afterwards = %v, want nil: the tunnel lives", err)
	}
}

// TestFormerAskerLeaves has the context of an earlier command end, before the next one and while it runs: that is no
// business of the tunnel's.
func TestFormerAskerLeaves(t *testing.T) {
	d := newDoor(t)
	tunnel := d.open(t)
	defer tunnel.Close()
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		for range 2 {
			if _, err := tunnel.Transmit(ctx, selectCommand); err != nil {
				t.Fatal(err)
			}
		}
		go cancel()
		if _, err := tunnel.Transmit(t.Context(), selectCommand); err != nil {
			t.Fatalf("Transmit = %v after another asker has left", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := tunnel.Transmit(ctx, selectCommand); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := tunnel.Transmit(ctx, selectCommand); !errors.Is(err, context.Canceled) {
		t.Errorf("Transmit of who has left = %v, want %v", err, context.Canceled)
	}
	if _, err := tunnel.Transmit(t.Context(), selectCommand); err != nil {
		t.Errorf("Transmit = %v after that, want nil: no frame was outstanding", err)
	}
}

// TestRevoked ends the lease, between commands and in one.
func TestRevoked(t *testing.T) {
	for _, busy := range []bool{false, true} {
		d := newDoor(t)
		tunnel := d.open(t)
		var release chan struct{}
		ended := make(chan error, 1)
		if busy {
			gate := d.reader.Hold()
			go func() { _, err := tunnel.Transmit(t.Context(), selectCommand); ended <- err }()
			release = <-gate
		}
		if err := d.leases.Revoke(t.Context(), d.leases.List()[0].Tunnel, "revoked by the user"); err != nil {
			t.Fatal(err)
		}
		for range tunnel.Events() {
		}
		if err := tunnel.Err(); cardbroker.ReasonOf(err) != cardbroker.Forbidden || err.(*cardbroker.Error).Message != "revoked by the user" {
			t.Errorf("Err = %v, want %s", err, cardbroker.Forbidden)
		}
		if busy {
			if err := <-ended; cardbroker.ReasonOf(err) != cardbroker.Indeterminate {
				t.Errorf("Transmit = %v, want %s", err, cardbroker.Indeterminate)
			}
			close(release)
		}
	}
}

// TestHolderBreaksTheProtocol has a holder that answers wrongly.
func TestHolderBreaksTheProtocol(t *testing.T) {
	tests := []struct {
		name string
		send func(conn *socket.Conn, seq uint64)
		want cardbroker.Reason
	}{
		{"another seq", func(c *socket.Conn, seq uint64) { c.Send(wire.Header{Type: wire.TypeDone, Seq: seq + 1}, nil) }, cardbroker.Invalid},
		{"another type", func(c *socket.Conn, seq uint64) { c.Send(wire.Header{Type: wire.TypeLease, Seq: seq}, nil) }, cardbroker.Invalid},
		{"no status word", func(c *socket.Conn, seq uint64) {
			c.Send(wire.Header{Type: wire.TypeAPDUResponse, Seq: seq}, make([]byte, 13))
		}, cardbroker.Invalid},
		{"no event", func(c *socket.Conn, _ uint64) { c.Send(wire.Header{Type: wire.TypeHello}, nil) }, cardbroker.Indeterminate},
		{"no frame", func(c *socket.Conn, _ uint64) { c.Write([]byte("x")) }, cardbroker.Indeterminate},
		{"the end", func(c *socket.Conn, _ uint64) { c.Shutdown(nil) }, cardbroker.Indeterminate},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := newDoor(t)
			d.serve = func(_ context.Context, c *socket.Conn) error {
				hello, _, _ := c.Receive()
				c.Send(wire.Header{Type: wire.TypeWelcome, Seq: hello.Seq}, wire.Welcome{Reader: "r"}.Append(nil))
				h, _, err := c.Receive()
				if err == nil {
					test.send(c, h.Seq)
					c.Receive()
				}
				return err
			}
			tunnel := d.open(t)
			if _, err := tunnel.Transmit(t.Context(), selectCommand); cardbroker.ReasonOf(err) != test.want {
				t.Errorf("Transmit = %v, want %s", err, test.want)
			}
			for range tunnel.Events() {
			}
			if tunnel.Err() == nil {
				t.Error("Err = nil, want why the tunnel ended")
			}
		})
	}
}

// TestTunnelsLeaveNothing counts goroutines and descriptors after tunnels that ended in every way.
func TestTunnelsLeaveNothing(t *testing.T) {
	d := newDoor(t)
	client := newClient(t, goodToken, d)
	use := func(end func(*virtualreader.Tunnel)) {
		tunnel, err := client.Open(t.Context(), virtualreader.TicketReader, goodTicket, virtualreader.Options{})
		if err != nil {
			t.Fatal(err)
		}
		tunnel.Transmit(t.Context(), selectCommand)
		end(tunnel)
		tunnel.Close()
		for len(d.leases.List()) > 0 {
			runtime.Gosched()
		}
	}
	use(func(*virtualreader.Tunnel) {})
	settled := testenv.Leaks(t)
	for range 5 {
		use(func(*virtualreader.Tunnel) {})
		use(func(tunnel *virtualreader.Tunnel) { d.leases.Revoke(t.Context(), d.leases.List()[0].Tunnel, "") })
		use(func(tunnel *virtualreader.Tunnel) {
			d.wires.cut()
			tunnel.Transmit(t.Context(), selectCommand)
		})
		use(func(tunnel *virtualreader.Tunnel) {
			gate := d.reader.Hold()
			ctx, cancel := context.WithCancel(t.Context())
			go func() { close(<-gate); cancel() }()
			tunnel.Transmit(ctx, selectCommand)
		})
	}
	settled()
}
