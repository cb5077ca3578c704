// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// agent is a holder with one reader, and back ends that reach it over TLS.
type agent struct {
	t      *testing.T
	reader *cardtest.Reader
	leases *cardend.Leases
	holder *cardend.Holder
	ctx    context.Context
	change func(*cardend.Tunnel) // of the next tunnels; nil: none
	dial   func() (near, far *socket.Conn, raw net.Conn)
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	a := &agent{t: t, reader: cardtest.NewReader(), leases: cardend.NewLeases(), ctx: t.Context()}
	a.holder = cardend.New(a.reader, a.leases)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.leases.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })

	m := socket.NewMaker(wire.Subprotocol)
	accepted := make(chan *socket.Conn, 1)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := m.Upgrade(w, r); err == nil {
			accepted <- c
		}
	}))
	t.Cleanup(s.Close)
	a.dial = func() (near, far *socket.Conn, raw net.Conn) {
		t.Helper()
		below := func(context.Context) (net.Conn, error) {
			var err error
			raw, err = net.Dial("tcp", s.Listener.Addr().String())
			return raw, err
		}
		conf := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		c, _, err := m.Dial(t.Context(), socket.Dial{URL: "wss" + s.URL[5:], TLS: conf, Net: below})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return <-accepted, c, raw
	}
	return a
}

// backEnd is the other end of a tunnel, frame by frame.
type backEnd struct {
	t    *testing.T
	conn *socket.Conn
	raw  net.Conn // below conn
	seq  uint64
	done chan error // what Serve returned
}

// tunnel starts a tunnel that nothing was said on.
func (a *agent) tunnel(tenant cardbroker.Tenant) *backEnd {
	a.t.Helper()
	near, far, raw := a.dial()
	b := &backEnd{t: a.t, conn: far, raw: raw, done: make(chan error, 1)}
	t := a.reader.Tunnel(tenant)
	t.ID[0] = tenant[0]
	if a.change != nil {
		a.change(&t)
	}
	go func() { b.done <- a.holder.Serve(a.ctx, near, t) }()
	return b
}

// open starts a tunnel and says Hello.
func (a *agent) open(tenant cardbroker.Tenant) *backEnd {
	a.t.Helper()
	b := a.tunnel(tenant)
	b.ask(wire.TypeHello, wire.Hello{Share: cardbroker.ShareShared}.Append(nil), wire.TypeWelcome)
	return b
}

// ask sends the next frame, and returns the payload of its answer, which has to be of type want.
func (b *backEnd) ask(kind wire.Type, payload []byte, want wire.Type) []byte {
	b.t.Helper()
	b.seq++
	b.conn.Send(wire.Header{Type: kind, Seq: b.seq}, payload)
	return b.expect(want, b.seq)
}

// expect receives a frame; events of cards are passed over unless one is wanted.
func (b *backEnd) expect(want wire.Type, seq uint64) []byte {
	b.t.Helper()
	for {
		h, p, err := b.conn.Receive()
		if err != nil {
			b.t.Fatalf("Receive = %v, want type %d", err, want)
		}
		if h.Type != want && (h.Type == wire.TypeCardIn || h.Type == wire.TypeCardOut) {
			continue
		}
		if h.Type != want || h.Seq != seq {
			b.t.Fatalf("got type %d seq %d %q, want type %d seq %d", h.Type, h.Seq, p, want, seq)
		}
		return bytes.Clone(p)
	}
}

// refused sends the next frame and expects an error.
func (b *backEnd) refused(kind wire.Type, payload []byte, want cardbroker.Reason) *cardbroker.Error {
	b.t.Helper()
	e, err := wire.ParseError(b.ask(kind, payload, wire.TypeError))
	if err != nil || e.Reason != want {
		b.t.Fatalf("type %d: Error %v, %v, want %s", kind, e, err, want)
	}
	return e
}

// over expects the tunnel's end, and what the holder says of it.
func (b *backEnd) over(want cardbroker.Reason) {
	b.t.Helper()
	for {
		if _, _, err := b.conn.Receive(); err != nil {
			break
		}
	}
	if err := <-b.done; cardbroker.ReasonOf(err) != want {
		b.t.Errorf("Serve = %v, want %q", err, want)
	}
}

var selectCommand = []byte{0x00, 0xA4, 0x04, 0x00, 0x02, 0xA0, 0x00}

func TestTunnelLife(t *testing.T) {
	a := newAgent(t)
	b := a.tunnel("alpha")
	w, err := wire.ParseWelcome(b.ask(wire.TypeHello, wire.Hello{Share: cardbroker.ShareShared}.Append(nil), wire.TypeWelcome))
	if err != nil || w.Reader != cardtest.ReaderName || w.Epoch != 7 || w.Lease != cardend.DefaultLease {
		t.Errorf("Welcome = %+v, %v", w, err)
	}
	in, err := wire.ParseCardIn(b.ask(wire.TypeConnect, wire.Connect{Share: cardbroker.ShareShared}.Append(nil), wire.TypeConnected))
	if err != nil || string(in.ATR) != cardtest.ATR || in.Protocol != cardbroker.ProtocolT1 {
		t.Errorf("Connected = %+v, %v", in, err)
	}
	b.ask(wire.TypeBegin, nil, wire.TypeDone)
	times, response, err := wire.ParseTimes(b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse))
	if err != nil || !bytes.Equal(response, append(bytes.Clone(selectCommand), 0x90, 0x00)) || times.Card != time.Millisecond {
		t.Errorf("APDUResponse = %+v, % x, %v", times, response, err)
	}
	b.ask(wire.TypeEnd, wire.AppendDisposition(nil, cardbroker.LeaveCard), wire.TypeDone)
	if d, err := wire.ParseLease(b.ask(wire.TypeRenew, wire.AppendLease(nil, 2*time.Hour), wire.TypeLease)); err != nil || d != cardend.MaxLease {
		t.Errorf("Lease = %v, %v, want %v", d, err, cardend.MaxLease)
	}
	b.conn.Send(wire.Header{Type: wire.TypePing}, []byte("12345678"))
	if p := b.expect(wire.TypePong, 0); string(p) != "12345678" {
		t.Errorf("Pong = %q", p)
	}
	b.ask(wire.TypeDisconnect, wire.AppendDisposition(nil, cardbroker.UnpowerCard), wire.TypeDone)
	if d := a.reader.LastClose(); d == nil || *d != cardbroker.UnpowerCard {
		t.Errorf("the card was closed with %v, want %d", d, cardbroker.UnpowerCard)
	}
	b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse) // connects by itself
	b.conn.Shutdown(nil)
	b.over("")
	if d := a.reader.LastClose(); a.reader.Connections() != 0 || *d != cardbroker.ResetCard {
		t.Errorf("the card was closed with %v, want %d: the next back end finds what this one did", *d, cardbroker.ResetCard)
	}
	if l := a.leases.List(); len(l) != 0 {
		t.Errorf("leases = %v, want none", l)
	}
}

func TestLongestAPDUs(t *testing.T) {
	a := newAgent(t)
	b := a.open("alpha")
	longest := append([]byte{0, 0xDA, 0, 0, 0, 0xFF, 0xFF}, make([]byte, 65535+2)...)
	if _, response, err := wire.ParseTimes(b.ask(wire.TypeAPDU, longest, wire.TypeAPDUResponse)); err != nil || len(response) != len(longest)+2 {
		t.Errorf("the longest command: %d bytes, %v", len(response), err)
	}
	for _, command := range [][]byte{{}, {0, 0xA4, 0}, append(longest, 0), {0, 0xA4, 4, 0, 9, 1}} {
		b.refused(wire.TypeAPDU, command, cardbroker.Invalid)
	}
	b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse) // the tunnel lives on
	if n := a.reader.Executed(); n != 2 {
		t.Errorf("the card has seen %d commands, want 2", n)
	}
}

// TestExactlyOnce holds that a frame that comes again is answered again, and that the card sees it once.
func TestExactlyOnce(t *testing.T) {
	a := newAgent(t)
	b := a.open("alpha")
	first := b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	for range 3 {
		b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: b.seq}, selectCommand)
		if again := b.expect(wire.TypeAPDUResponse, b.seq); !bytes.Equal(again, first) {
			t.Errorf("the answer again = % x, want % x", again, first)
		}
	}
	if n := a.reader.Executed(); n != 1 {
		t.Errorf("the card has seen %d commands, want 1", n)
	}
	e := b.refused(wire.TypeAPDU, []byte{0, 0x20, 0, 1, 2, 0x31, 0x32}, cardbroker.Forbidden)
	b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: b.seq}, []byte{0, 0x20, 0, 1, 2, 0x31, 0x32})
	if again, err := wire.ParseError(b.expect(wire.TypeError, b.seq)); err != nil || *again != *e {
		t.Errorf("the error again = %v, %v, want %v", again, err, e)
	}
}

// TestProtocolErrors sends what ends a tunnel.
func TestProtocolErrors(t *testing.T) {
	tests := []struct {
		name string
		send func(b *backEnd)
	}{
		{"a gap", func(b *backEnd) { b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: 4}, selectCommand) }},
		{"an older one", func(b *backEnd) {
			b.conn.Send(wire.Header{Type: wire.TypeHello, Seq: 1}, wire.Hello{Share: cardbroker.ShareShared}.Append(nil))
		}},
		{"seq 0", func(b *backEnd) { b.conn.Send(wire.Header{Type: wire.TypeAPDU}, selectCommand) }},
		{"the same seq, other bytes", func(b *backEnd) {
			b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: 2}, append(bytes.Clone(selectCommand), 0))
		}},
		{"the same seq, another type", func(b *backEnd) { b.conn.Send(wire.Header{Type: wire.TypeConnect, Seq: 2}, selectCommand) }},
		{"a reader's number", func(b *backEnd) { b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: 3, Reader: 1}, selectCommand) }},
		{"an answer acknowledged before it was given", func(b *backEnd) {
			b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: 3, Ack: 3}, selectCommand)
		}},
		{"Hello again", func(b *backEnd) {
			b.conn.Send(wire.Header{Type: wire.TypeHello, Seq: 3}, wire.Hello{Share: cardbroker.ShareShared}.Append(nil))
		}},
		{"a holder's frame", func(b *backEnd) { b.conn.Send(wire.Header{Type: wire.TypeAPDUResponse, Seq: 3}, make([]byte, 14)) }},
		{"a sandbox's frame", func(b *backEnd) { b.conn.Send(wire.Header{Type: wire.TypeWatch, Seq: 3}, nil) }},
		{"a short Connect", func(b *backEnd) { b.conn.Send(wire.Header{Type: wire.TypeConnect, Seq: 3}, []byte{0, 0, 2}) }},
		{"a disposition out of range", func(b *backEnd) {
			b.conn.Send(wire.Header{Type: wire.TypeEnd, Seq: 3}, []byte{0, 0, 0, 4})
		}},
		{"Begin with a payload", func(b *backEnd) { b.conn.Send(wire.Header{Type: wire.TypeBegin, Seq: 3}, []byte{1}) }},
		{"a long Renew", func(b *backEnd) { b.conn.Send(wire.Header{Type: wire.TypeRenew, Seq: 3}, make([]byte, 5)) }},
		{"a short Ping", func(b *backEnd) { b.conn.Send(wire.Header{Type: wire.TypePing}, []byte("1234567")) }},
		{"an unknown type", func(b *backEnd) {
			frame := wire.Append(nil, wire.Header{Type: wire.TypeAPDU, Seq: 3}, selectCommand)
			frame[1] = 200
			b.conn.Write(frame)
		}},
		{"a short frame", func(b *backEnd) { b.conn.Write(make([]byte, 23)) }},
	}
	a := newAgent(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := a.open("alpha")
			b.t = t
			b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
			before := a.reader.Executed()
			test.send(b)
			h, p, err := receive(b.conn)
			if e, _ := wire.ParseError(p); err != nil || h.Type != wire.TypeError || e.Reason != cardbroker.Invalid {
				t.Errorf("the answer is %+v %q, %v, want Error %s", h, p, err, cardbroker.Invalid)
			}
			if _, _, err := receive(b.conn); cardbroker.ReasonOf(err) != cardbroker.Invalid {
				t.Errorf("the tunnel ended with %v, want %s", err, cardbroker.Invalid)
			}
			b.over(cardbroker.Invalid)
			if n := a.reader.Executed(); n != before {
				t.Errorf("the card has seen %d commands more", n-before)
			}
		})
	}
}

func TestFirstFrame(t *testing.T) {
	a := newAgent(t)
	hello := wire.Hello{Share: cardbroker.ShareShared}.Append(nil)
	for _, first := range []struct {
		name string
		h    wire.Header
		p    []byte
	}{
		{"a command", wire.Header{Type: wire.TypeAPDU, Seq: 1}, selectCommand},
		{"seq 2", wire.Header{Type: wire.TypeHello, Seq: 2}, hello},
		{"another reader", wire.Header{Type: wire.TypeHello, Seq: 1, Reader: 3}, hello},
		{"a short Hello", wire.Header{Type: wire.TypeHello, Seq: 1}, hello[1:]},
		{"direct sharing", wire.Header{Type: wire.TypeHello, Seq: 1}, wire.Hello{Share: cardbroker.ShareDirect}.Append(nil)},
	} {
		t.Run(first.name, func(t *testing.T) {
			b := a.tunnel("alpha")
			b.t = t
			b.conn.Send(first.h, first.p)
			b.expect(wire.TypeError, 1)
			b.over(cardbroker.Invalid)
		})
	}
}

// TestCardGone holds that nothing meant for one card reaches another: only Connect goes on.
func TestCardGone(t *testing.T) {
	tests := []struct {
		name   string
		change func(r *cardtest.Reader)
		want   cardbroker.Reason
	}{
		{"removed", func(r *cardtest.Reader) { r.Remove(); r.Insert(); r.Remove(); r.Insert() }, cardbroker.CardRemoved},
		{"reset", (*cardtest.Reader).Reset, cardbroker.CardReset},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := newAgent(t)
			b := a.open("alpha")
			b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
			test.change(a.reader)
			for range 2 {
				b.refused(wire.TypeAPDU, selectCommand, test.want)
				b.refused(wire.TypeBegin, nil, test.want)
			}
			if n := a.reader.Executed(); n != 1 {
				t.Errorf("the card has seen %d commands, want 1", n)
			}
			b.ask(wire.TypeConnect, wire.Connect{Share: cardbroker.ShareShared}.Append(nil), wire.TypeConnected)
			b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
		})
	}
}

func TestNoCard(t *testing.T) {
	a := newAgent(t)
	a.reader.Remove()
	b := a.open("alpha")
	b.refused(wire.TypeAPDU, selectCommand, cardbroker.CardAbsent)
	a.reader.Insert()
	b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse) // no connection was lost: the first need connects
}

func TestCardEvents(t *testing.T) {
	a := newAgent(t)
	b := a.open("alpha")
	a.reader.Remove()
	b.expect(wire.TypeCardOut, 0)
	a.reader.Insert()
	if in, err := wire.ParseCardIn(b.expect(wire.TypeCardIn, 0)); err != nil || string(in.ATR) != cardtest.ATR {
		t.Errorf("CardIn = %+v, %v", in, err)
	}
}

// TestEventsBeforeConnected replaces the card when nobody has told of it yet: the back end hears of that before it is connected to the
// new one, which it would take for removed else.
func TestEventsBeforeConnected(t *testing.T) {
	a := newAgent(t)
	a.change = func(t *cardend.Tunnel) { t.Changed = nil }
	b := a.open("alpha")
	b.expect(wire.TypeCardIn, 0)
	a.reader.Replace()
	b.seq++
	b.conn.Send(wire.Header{Type: wire.TypeConnect, Seq: b.seq}, wire.Connect{Share: cardbroker.ShareShared}.Append(nil))
	for _, want := range []wire.Type{wire.TypeCardOut, wire.TypeCardIn, wire.TypeConnected} {
		if h, _, err := b.conn.Receive(); h.Type != want || err != nil {
			t.Fatalf("got type %d, %v, want %d", h.Type, err, want)
		}
	}
}

// TestOtherReadersChange signals what is no change of this reader's card: the back end hears of real ones only.
func TestOtherReadersChange(t *testing.T) {
	a := newAgent(t)
	b := a.open("alpha")
	a.reader.Remove()
	b.expect(wire.TypeCardOut, 0)
	a.reader.Nudge()
	for len(a.reader.Changed) > 0 { // until it is taken, else the next change would be one with it
		runtime.Gosched()
	}
	a.reader.Insert()
	b.expect(wire.TypeCardIn, 0)
}

func TestOneLeaseForAReader(t *testing.T) {
	a := newAgent(t)
	first := a.open("alpha")
	if l := a.leases.List(); len(l) != 1 || l[0].Tenant != "alpha" || l[0].Reader != cardtest.ReaderName || l[0].Tunnel[0] != 'a' ||
		l[0].Expires.Sub(l[0].Since) != cardend.DefaultLease {
		t.Errorf("leases = %+v", l)
	}
	second := a.tunnel("beta")
	e := second.refused(wire.TypeHello, wire.Hello{Share: cardbroker.ShareShared}.Append(nil), cardbroker.ReaderBusy)
	if bytes.Contains([]byte(e.Message), []byte("alpha")) {
		t.Errorf("the refusal %q tells of another tenant", e.Message)
	}
	second.over(cardbroker.ReaderBusy)
	first.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse) // whose lease is as it was
	first.conn.Shutdown(nil)
	first.over("")
	third := a.open("gamma")
	third.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
}

// TestRevoke ends a lease while the card works: the back end hears at once, the reader is free when the card is.
func TestRevoke(t *testing.T) {
	a := newAgent(t)
	b := a.open("alpha")
	gate := a.reader.Hold()
	b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: 2}, selectCommand)
	release := <-gate
	id := a.leases.List()[0].Tunnel
	if err := a.leases.Revoke(t.Context(), id, "the user has ended it"); err != nil {
		t.Fatal(err)
	}
	if e, err := wire.ParseError(b.expect(wire.TypeRevoked, 0)); err != nil || e.Message != "the user has ended it" {
		t.Errorf("Revoked = %v, %v", e, err)
	}
	if _, _, err := receive(b.conn); cardbroker.ReasonOf(err) != cardbroker.Forbidden {
		t.Errorf("the tunnel ended with %v, want %s", err, cardbroker.Forbidden)
	}
	other := a.tunnel("beta")
	other.refused(wire.TypeHello, wire.Hello{Share: cardbroker.ShareShared}.Append(nil), cardbroker.ReaderBusy)
	close(release)
	b.over(cardbroker.Forbidden)
	if err := a.leases.Revoke(t.Context(), id, "again"); cardbroker.ReasonOf(err) != cardbroker.ObjectUnknown {
		t.Errorf("Revoke of what is gone = %v, want %s", err, cardbroker.ObjectUnknown)
	}
	a.open("gamma")
}

// TestSameID has a tunnel refused that has the id of another one, as a broker may say it: the other's lease was given up with it.
func TestSameID(t *testing.T) {
	a := newAgent(t)
	first := a.open("alpha")
	for reader, want := range map[string]cardbroker.Reason{cardtest.ReaderName: cardbroker.ReaderBusy, "another": cardbroker.Conflict} {
		a.change = func(t *cardend.Tunnel) { t.Reader = reader }
		second := a.tunnel("alpha")
		second.refused(wire.TypeHello, wire.Hello{Share: cardbroker.ShareShared}.Append(nil), want)
		second.over(want)
		if leases := a.leases.List(); len(leases) != 1 || leases[0].Reader != cardtest.ReaderName {
			t.Errorf("after a tunnel to %s of the same id the leases are %+v, want the first one's", reader, leases)
		}
	}
	first.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
}

// TestBackEndVanishes cuts connections without a word, and counts what is left.
func TestBackEndVanishes(t *testing.T) {
	a := newAgent(t)
	a.open("warm").conn.Close()
	for len(a.leases.List()) > 0 {
		runtime.Gosched()
	}
	settled := testenv.Leaks(t)
	for range 5 {
		b := a.open("alpha")
		b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
		b.raw.Close()
		b.over(cardbroker.Unavailable)
	}
	if a.reader.Connections() != 0 || len(a.leases.List()) != 0 {
		t.Errorf("%d cards and %d leases are left", a.reader.Connections(), len(a.leases.List()))
	}
	settled()
}

func TestServeEndsWithItsContext(t *testing.T) {
	a := newAgent(t)
	ctx, cancel := context.WithCancel(t.Context())
	a.ctx = ctx
	b := a.open("alpha")
	cancel()
	b.over("")
}
