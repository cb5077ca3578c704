// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// asking opens a tunnel and has the user asked, who does not answer yet.
func asking(t *testing.T) (*agent, *user, *backEnd) {
	t.Helper()
	a, u := withPad(t)
	b := a.open("alpha")
	b.seq++
	b.conn.Send(wire.Header{Type: wire.TypeControl, Seq: b.seq}, verifying(t))
	<-u.asked
	return a, u, b
}

// TestQuestionEndsWithTunnel: whatever ends the tunnel closes the prompt, and nothing is sent to the card.
func TestQuestionEndsWithTunnel(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(a *agent, b *backEnd)
		want cardbroker.Reason
	}{
		"the back end leaves":   {func(_ *agent, b *backEnd) { b.conn.Shutdown(nil) }, ""},
		"the back end vanishes": {func(_ *agent, b *backEnd) { b.raw.Close() }, cardbroker.Unavailable},
		"the user ends the lease": {func(a *agent, _ *backEnd) {
			a.leases.Revoke(context.Background(), a.leases.List()[0].Tunnel, "he has ended it")
		}, cardbroker.Forbidden},
		"the next frame": {func(_ *agent, b *backEnd) {
			b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: b.seq + 1}, selectCommand)
		}, cardbroker.Invalid},
		"another frame of the same number": {func(_ *agent, b *backEnd) {
			b.conn.Send(wire.Header{Type: wire.TypeControl, Seq: b.seq}, append(verifying(b.t), 0))
		}, cardbroker.Invalid},
		"too many repetitions": {func(_ *agent, b *backEnd) {
			for range 9 {
				b.conn.Send(wire.Header{Type: wire.TypeControl, Seq: b.seq}, verifying(b.t))
			}
		}, cardbroker.Invalid},
		"a short ping": {func(_ *agent, b *backEnd) { b.conn.Send(wire.Header{Type: wire.TypePing}, nil) }, cardbroker.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			a, u, b := asking(t)
			test.end(a, b)
			if err := <-u.gone; err != context.Canceled {
				t.Errorf("the question ended with %v, want %v", err, context.Canceled)
			}
			b.over(test.want)
			if n := a.reader.Executed(); n != 0 || a.reader.Connections() != 0 || len(a.leases.List()) != 0 {
				t.Errorf("the card has seen %d commands; %d connections and %d leases are left", n, a.reader.Connections(), len(a.leases.List()))
			}
		})
	}
}

// TestAnswerAfterTheEnd: a PIN that comes when the lease has ended is not used.
func TestAnswerAfterTheEnd(t *testing.T) {
	a, u := withPad(t)
	stubborn := &stubbornUser{user: u, ended: make(chan struct{})}
	a.change = func(t *cardend.Tunnel) { t.PIN, t.Asker = cardbroker.PINAgent, stubborn }
	b := a.open("alpha")
	b.conn.Send(wire.Header{Type: wire.TypeControl, Seq: 2}, verifying(t))
	<-u.asked
	a.leases.Revoke(t.Context(), a.leases.List()[0].Tunnel, "he has ended it")
	<-stubborn.ended
	memory := u.enters("123456")
	b.over(cardbroker.Forbidden)
	if n := a.reader.Executed(); n != 0 || memory[0][0] != 0 {
		t.Errorf("the card has seen %d commands, memory holds %q", n, memory[0])
	}
}

// stubbornUser enters a PIN although nobody waits for it any more.
type stubbornUser struct {
	*user
	ended chan struct{} // closed when his question has ended
}

func (u *stubbornUser) AskPIN(ctx context.Context, q cardend.Question) ([]cardbroker.Secret, error) {
	u.asked <- q
	<-ctx.Done()
	close(u.ended)
	s := <-u.say
	return s.pins, s.err
}

// TestTunnelLivesWhileAsked: events and pings go on, and a frame that comes again does nothing twice.
func TestTunnelLivesWhileAsked(t *testing.T) {
	a, u, b := asking(t)
	a.reader.Nudge()
	for range 2 {
		b.conn.Send(wire.Header{Type: wire.TypePing}, []byte("12345678"))
		b.expect(wire.TypePong, 0)
		b.conn.Send(wire.Header{Type: wire.TypeControl, Seq: b.seq}, verifying(t))
	}
	b.conn.Send(wire.Header{Type: wire.TypePing}, []byte("12345678"))
	b.expect(wire.TypePong, 0)
	u.enters("123456")
	for range 3 {
		if got := b.expect(wire.TypeControlled, b.seq); string(got) != "\x90\x00" {
			t.Errorf("the answer is % X, want 9000", got)
		}
	}
	b.conn.Send(wire.Header{Type: wire.TypeControl, Seq: b.seq}, verifying(t))
	b.expect(wire.TypeControlled, b.seq)
	b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	if n := a.reader.Executed(); n != 2 || len(u.asked) != 0 {
		t.Errorf("the card has seen %d commands, want 2; the user was asked %d times more", n, len(u.asked))
	}
}

// TestCardRemovedWhileAsked: the event comes while the user is asked, and his PIN goes to no other card.
func TestCardRemovedWhileAsked(t *testing.T) {
	a, u, b := asking(t)
	a.reader.Remove()
	b.expect(wire.TypeCardOut, 0)
	a.reader.Insert()
	b.expect(wire.TypeCardIn, 0)
	a.reader.Remove()
	a.reader.Insert()
	u.enters("123456")
	if e, err := wire.ParseError(b.expect(wire.TypeError, b.seq)); err != nil || e.Reason != cardbroker.CardRemoved {
		t.Errorf("the answer is %v, %v, want %s", e, err, cardbroker.CardRemoved)
	}
	if n := a.reader.Executed(); n != 0 {
		t.Errorf("the card has seen %d commands", n)
	}
}

// TestQuestionTimesOut: by what the program wants, a minute at most; and with the lease.
func TestQuestionTimesOut(t *testing.T) {
	for _, test := range []struct {
		asked byte
		lease time.Duration
		want  time.Duration
		over  bool
	}{
		{30, time.Hour, 30 * time.Second, false},
		{0, time.Hour, time.Minute, false},
		{255, time.Hour, time.Minute, false},
		{30, 10 * time.Second, 10 * time.Second, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			leases, reader, u := cardend.NewLeases(), cardtest.NewReader(), newUser()
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { leases.Run(ctx) })
			near, far := net.Pipe()
			tunnel := reader.Tunnel("alpha")
			tunnel.PIN, tunnel.Asker = cardbroker.PINAgent, u
			wg.Go(func() { cardend.New(reader, leases).Serve(ctx, &pipe{Stream: wire.NewStream(near)}, tunnel) })
			b := wire.NewStream(far)
			b.Send(wire.Header{Type: wire.TypeHello, Seq: 1}, wire.Hello{Share: cardbroker.ShareShared, Lease: test.lease}.Append(nil))
			b.Receive()
			start := time.Now()
			b.Send(wire.Header{Type: wire.TypeControl, Seq: 2}, wire.AppendControl(nil, pinpad.VerifyPINDirect.Code(), verifyStructure(t, test.asked, verifyTemplate)))
			h, p, err := b.Receive()
			for err == nil && h.Type == wire.TypeCardIn {
				h, p, err = b.Receive()
			}
			if test.over && (err != nil || h.Type != wire.TypeRevoked) || !test.over && (h.Type != wire.TypeControlled || string(p) != "\x64\x00") {
				t.Errorf("the answer is %+v % X, %v", h, p, err)
			}
			if took := time.Since(start); took != test.want || reader.Executed() != 0 {
				t.Errorf("it took %v, want %v; the card has seen %d commands", took, test.want, reader.Executed())
			}
			b.Close()
			synctest.Wait()
			cancel()
			wg.Wait()
		})
	}
}
