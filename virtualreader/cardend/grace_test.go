// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// pipes is a network of pipes, which a bubble of its own time can have.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p pipes) dial(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	p <- near
	return far, nil
}

// graced is a holder in a bubble, with one tunnel whose lease outlives its connection.
type graced struct {
	t      *testing.T
	leases *cardend.Leases
	start  time.Time
	raw    net.Conn     // the back end's end, below conn
	conn   *socket.Conn // the back end
	secret cardbroker.Secret
	frames chan frame // that have arrived
	dial   func() (near, far *socket.Conn, raw net.Conn)
	all    sync.WaitGroup
}

type frame struct {
	head    wire.Header
	payload []byte
}

// withGrace opens such a tunnel and gives it to f. commands says whether the back end has sent one.
func withGrace(t *testing.T, hello wire.Hello, commands bool, f func(g *graced)) {
	synctest.Test(t, func(t *testing.T) {
		g := &graced{t: t, leases: cardend.NewLeases(), frames: make(chan frame, 256)}
		ctx, cancel := context.WithCancel(t.Context())
		g.all.Go(func() { g.leases.Run(ctx) })
		maker, accepted, network := socket.NewMaker(wire.Subprotocol), make(chan *socket.Conn, 1), make(pipes)
		server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if conn, err := maker.Upgrade(w, r); err == nil {
				conn.LimitSilence(wire.MaxSilence) // as the agent does
				accepted <- conn
			}
		})}
		g.all.Go(func() { server.Serve(network) })
		g.dial = func() (near, far *socket.Conn, raw net.Conn) {
			below := func(ctx context.Context) (conn net.Conn, err error) { raw, err = network.dial(ctx); return raw, err }
			far, _, err := maker.Dial(ctx, socket.Dial{URL: "ws://holder/", Net: below})
			if err != nil {
				t.Fatal(err)
			}
			return <-accepted, far, raw
		}
		near, far, raw := g.dial()
		g.use(far, raw)
		reader := cardtest.NewReader()
		tunnel := reader.Tunnel("alpha")
		tunnel.Route = agentRoute
		g.all.Go(func() { cardend.New(reader, g.leases).Serve(ctx, near, tunnel) })
		g.open(hello, commands)
		f(g)
		g.conn.Close()
		cancel()
		server.Close()
		g.all.Wait()
	})
}

// use has the back end use a connection. It reads all that arrives: a pipe keeps nothing.
func (g *graced) use(conn *socket.Conn, raw net.Conn) {
	g.conn, g.raw = conn, raw
	g.all.Go(func() {
		for {
			h, payload, err := conn.Receive()
			if err != nil {
				return
			}
			g.frames <- frame{h, bytes.Clone(payload)}
		}
	})
}

func (g *graced) open(hello wire.Hello, commands bool) {
	g.t.Helper()
	hello.Durability = cardbroker.DurabilityCrash
	g.start = time.Now()
	g.conn.Send(wire.Header{Type: wire.TypeHello, Seq: 1}, hello.Append(nil))
	welcome, err := wire.ParseWelcome(g.next(wire.TypeWelcome))
	if err != nil {
		g.t.Fatal(err)
	}
	ticket, err := cardbroker.ParseTicket(string(welcome.Resume.Reveal()))
	if err != nil {
		g.t.Fatal(err)
	}
	g.secret = ticket.Secret
	if commands {
		g.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: 2}, selectCommand)
		g.next(wire.TypeAPDUResponse)
	}
}

// next returns the payload of the next frame that is not about the card, which has to be of that type.
func (g *graced) next(want wire.Type) []byte {
	g.t.Helper()
	for {
		select {
		case f := <-g.frames:
			if f.head.Type == want {
				return f.payload
			}
			if f.head.Type != wire.TypeCardIn && f.head.Type != wire.TypeCardOut {
				g.t.Fatalf("a frame of type %d arrived, want %d", f.head.Type, want)
			}
		case <-time.After(2 * time.Hour): // of the bubble's
			g.t.Fatalf("no frame of type %d arrived", want)
		}
	}
}

// at checks, so long after the beginning, whether the lease is there and its connection cut.
func (g *graced) at(after time.Duration, held, cut bool) {
	g.t.Helper()
	time.Sleep(time.Until(g.start.Add(after)))
	synctest.Wait()
	list := g.leases.List()
	if (len(list) == 1) != held || held && !list[0].Cut.IsZero() != cut {
		g.t.Errorf("after %v the leases are %+v, want held %v, cut %v", after, list, held, cut)
	}
}

// TestSilentBackEndLosesItsLease: a back end that says nothing any more is taken for cut after 70 s, and for gone a minute later.
func TestSilentBackEndLosesItsLease(t *testing.T) {
	withGrace(t, wire.Hello{Share: cardbroker.ShareShared, Lease: time.Hour}, true, func(g *graced) {
		g.at(wire.MaxSilence-time.Second, true, false)
		g.at(wire.MaxSilence+time.Second, true, true)
		g.at(wire.MaxSilence+cardend.Grace-time.Second, true, true)
		g.at(wire.MaxSilence+cardend.Grace+time.Second, false, false)
	})
}

// TestPingsKeepTheLease: one that only pings keeps it until its time is over.
func TestPingsKeepTheLease(t *testing.T) {
	withGrace(t, wire.Hello{Share: cardbroker.ShareShared, Lease: 30 * time.Minute}, true, func(g *graced) {
		for range int(30*time.Minute/wire.PingInterval) - 1 {
			time.Sleep(wire.PingInterval) // of the bubble's
			g.conn.Send(wire.Header{Type: wire.TypePing}, make([]byte, 8))
			g.next(wire.TypePong)
		}
		g.at(30*time.Minute-time.Second, true, false)
		if e, err := wire.ParseError(g.next(wire.TypeRevoked)); err != nil || e.Reason != cardbroker.Timeout {
			t.Errorf("Revoked says %v, %v", e, err)
		}
		g.at(30*time.Minute+time.Second, false, false)
	})
}

// TestGrace: how long a lease waits for a back end whose connection was cut.
func TestGrace(t *testing.T) {
	for name, test := range map[string]struct {
		lease    time.Duration
		commands bool
		want     time.Duration
	}{
		"a minute":                      {time.Hour, true, cardend.Grace},
		"within the lease's own time":   {30 * time.Second, true, 30 * time.Second},
		"10 s before the first command": {time.Hour, false, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			withGrace(t, wire.Hello{Share: cardbroker.ShareShared, Lease: test.lease}, test.commands, func(g *graced) {
				g.raw.Close()
				g.at(test.want-time.Second, true, true)
				g.at(test.want+time.Second, false, false)
			})
		})
	}
}

// TestBackWithinGrace: a back end that comes back has its lease again, and as much grace the next time.
func TestBackWithinGrace(t *testing.T) {
	withGrace(t, wire.Hello{Share: cardbroker.ShareShared, Lease: time.Hour}, true, func(g *graced) {
		for round := range 3 {
			g.raw.Close()
			at := time.Duration(round+1) * 50 * time.Second
			g.at(at, true, true)
			taken, err := g.leases.Take(g.t.Context(), g.secret, "alpha")
			if err != nil {
				t.Fatal(err)
			}
			near, far, raw := g.dial()
			if err := taken.Attach(g.t.Context(), near); err != nil {
				t.Fatal(err)
			}
			g.use(far, raw)
			g.conn.Send(wire.Header{Type: wire.TypeResume, Seq: 2, Ack: 2}, nil)
			g.next(wire.TypeResumed)
			g.at(at+time.Second, true, false)
		}
	})
}

// TestRevokeWhileCut: a lease whose back end is away ends at once, and whoever watches is told.
func TestRevokeWhileCut(t *testing.T) {
	withGrace(t, wire.Hello{Share: cardbroker.ShareShared, Lease: time.Hour}, true, func(g *graced) {
		changed, stop := g.leases.Watch()
		defer stop()
		g.raw.Close()
		<-changed
		g.at(time.Second, true, true)
		if err := g.leases.Revoke(g.t.Context(), g.leases.List()[0].Tunnel, "over"); err != nil {
			t.Fatal(err)
		}
		for len(g.leases.List()) > 0 {
			<-changed
		}
		if _, err := g.leases.Take(g.t.Context(), g.secret, "alpha"); err == nil {
			t.Error("the back end takes up a lease that was revoked")
		}
	})
}

// TestShareOfALease: the list says how the back end wants the reader, also when it wants it otherwise.
func TestShareOfALease(t *testing.T) {
	withGrace(t, wire.Hello{Share: cardbroker.ShareExclusive, Lease: time.Hour}, false, func(g *graced) {
		seq := uint64(1)
		want := func(share cardbroker.ShareMode) {
			t.Helper()
			synctest.Wait()
			if list := g.leases.List(); len(list) != 1 || list[0].Share != share {
				t.Errorf("leases = %+v, want %v", list, share)
			}
		}
		want(cardbroker.ShareExclusive)
		for _, share := range []cardbroker.ShareMode{cardbroker.ShareShared, cardbroker.ShareExclusive, cardbroker.ShareDirect} {
			seq++
			g.conn.Send(wire.Header{Type: wire.TypeConnect, Seq: seq}, wire.Connect{Share: share}.Append(nil))
			g.next(wire.TypeConnected)
			want(share)
		}
	})
}
