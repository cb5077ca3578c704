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
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// pipe is a tunnel's connection without a network, so that time can be made: a closed pipe is all that Shutdown says.
type pipe struct {
	*wire.Stream
	mu sync.Mutex
}

func (p *pipe) Send(h wire.Header, payload []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Stream.Send(h, payload)
}

func (p *pipe) Shutdown(error) { p.Close() }

// timed runs a holder in a bubble of its own time, and gives f the back end's end of a tunnel with a lease.
func timed(t *testing.T, lease time.Duration, f func(t *testing.T, far *wire.Stream, leases *cardend.Leases)) {
	timedAtMost(t, 0, lease, f)
}

// timedAtMost is timed with a limit of policy's for the whole lease.
func timedAtMost(t *testing.T, most, lease time.Duration, f func(t *testing.T, far *wire.Stream, leases *cardend.Leases)) {
	synctest.Test(t, func(t *testing.T) {
		leases := cardend.NewLeases()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { leases.Run(ctx) })
		near, far := net.Pipe()
		reader := cardtest.NewReader()
		tunnel := reader.Tunnel("alpha")
		tunnel.LeaseMax = most
		wg.Go(func() { cardend.New(reader, leases).Serve(ctx, &pipe{Stream: wire.NewStream(near)}, tunnel) })
		b := wire.NewStream(far)
		b.Send(wire.Header{Type: wire.TypeHello, Seq: 1}, wire.Hello{Share: cardbroker.ShareShared, Lease: lease}.Append(nil))
		if h, _, err := b.Receive(); err != nil || h.Type != wire.TypeWelcome {
			t.Fatalf("Receive = %+v, %v, want Welcome", h, err)
		}
		f(t, b, leases)
		b.Close()
		synctest.Wait()
		cancel()
		wg.Wait()
	})
}

// receive returns the next frame that is not about the card.
func receive(far wire.Conn) (wire.Header, []byte, error) {
	for {
		h, p, err := far.Receive()
		if err != nil || h.Type != wire.TypeCardIn && h.Type != wire.TypeCardOut {
			return h, p, err
		}
	}
}

func TestLeaseExpires(t *testing.T) {
	tests := []struct{ asked, want time.Duration }{
		{0, cardend.DefaultLease},
		{time.Second, time.Second},
		{30 * time.Minute, 30 * time.Minute},
		{24 * time.Hour, cardend.MaxLease},
	}
	for _, test := range tests {
		timed(t, test.asked, func(t *testing.T, far *wire.Stream, leases *cardend.Leases) {
			start := time.Now()
			h, p, err := receive(far)
			if err != nil || h.Type != wire.TypeRevoked {
				t.Fatalf("Receive = %+v, %v, want Revoked", h, err)
			}
			if e, _ := wire.ParseError(p); e.Reason != cardbroker.Timeout {
				t.Errorf("Revoked says %v, want %s", e, cardbroker.Timeout)
			}
			if got := time.Since(start); got != test.want {
				t.Errorf("a lease of %v lasted %v, want %v", test.asked, got, test.want)
			}
			synctest.Wait()
			if l := leases.List(); len(l) != 0 {
				t.Errorf("leases = %v, want none", l)
			}
		})
	}
}

func TestRenewedLeaseLasts(t *testing.T) {
	timed(t, time.Minute, func(t *testing.T, far *wire.Stream, leases *cardend.Leases) {
		start := time.Now()
		for seq := range uint64(3) {
			time.Sleep(50 * time.Second)
			far.Send(wire.Header{Type: wire.TypeRenew, Seq: 2 + seq}, wire.AppendLease(nil, time.Minute))
			if h, _, err := receive(far); err != nil || h.Type != wire.TypeLease {
				t.Fatalf("Receive = %+v, %v, want Lease", h, err)
			}
		}
		if l := leases.List(); len(l) != 1 || l[0].Expires.Sub(start) != 210*time.Second {
			t.Errorf("leases = %+v, want one that expires after 210 s", l)
		}
		if h, _, err := receive(far); err != nil || h.Type != wire.TypeRevoked || time.Since(start) != 210*time.Second {
			t.Errorf("Receive = %+v, %v after %v, want Revoked after 210 s", h, err, time.Since(start))
		}
	})
}

// TestLeaseMax: where policy limits a lease, renewing it does not help beyond that.
func TestLeaseMax(t *testing.T) {
	timedAtMost(t, 2*time.Minute, time.Minute, func(t *testing.T, far *wire.Stream, leases *cardend.Leases) {
		start := time.Now()
		for i, want := range []time.Duration{time.Minute, 40 * time.Second} {
			time.Sleep(40 * time.Second)
			far.Send(wire.Header{Type: wire.TypeRenew, Seq: uint64(2 + i)}, wire.AppendLease(nil, time.Minute))
			h, p, err := receive(far)
			if got, _ := wire.ParseLease(p); err != nil || h.Type != wire.TypeLease || got != want {
				t.Fatalf("Renew is answered %+v %v, %v, want %v", h, got, err, want)
			}
		}
		if h, _, err := receive(far); err != nil || h.Type != wire.TypeRevoked || time.Since(start) != 2*time.Minute {
			t.Errorf("Receive = %+v, %v after %v, want Revoked after two minutes", h, err, time.Since(start))
		}
	})
	timedAtMost(t, 10*time.Second, time.Minute, func(t *testing.T, far *wire.Stream, leases *cardend.Leases) {
		if l := leases.List(); len(l) != 1 || l[0].Expires.Sub(l[0].Since) != 10*time.Second {
			t.Errorf("leases = %+v, want one of 10 s", l)
		}
	})
}

// TestLeasesEnd holds what is said to those who come when the agent is going.
func TestLeasesEnd(t *testing.T) {
	leases := cardend.NewLeases()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	leases.Run(ctx)
	if err := leases.Revoke(t.Context(), cardend.TunnelID{}, ""); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Revoke = %v, want %s", err, cardbroker.Unavailable)
	}
}
