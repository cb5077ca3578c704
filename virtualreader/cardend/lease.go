// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
)

// How long leases last.
const (
	DefaultLease = 5 * time.Minute
	MaxLease     = time.Hour
)

// Lease is the timed, revocable use of one reader by one back end.
type Lease struct {
	Tunnel  TunnelID
	Reader  string
	Tenant  cardbroker.Tenant
	Method  string // of the Tunnel
	Backend string // of the Tunnel
	Since   time.Time
	Expires time.Time
	Share   cardbroker.ShareMode // as the back end wants the reader now
	Cut     time.Time            // since when the back end has no connection, and may come back; zero: it has one
}

// Leases are the leases of one agent: at most one for each reader. Its loop is the only one that changes them.
type Leases struct {
	loop    *loop.Loop[*leaseTable]
	view    atomic.Pointer[[]Lease]
	changed chan struct{} // capacity 1
}

// NewLeases returns no leases. Requests wait until [Leases.Run] is called.
func NewLeases() *Leases {
	l := &Leases{loop: loop.New[*leaseTable](), changed: make(chan struct{}, 1)}
	l.view.Store(&[]Lease{})
	return l
}

// Run serves the leases until ctx ends. It is called once.
func (l *Leases) Run(ctx context.Context) error {
	return l.loop.Run(ctx, &leaseTable{leases: l, held: make(map[string]*heldLease), watchers: make(map[chan struct{}]bool)})
}

// List returns the leases by reader. The list is not changed any more.
func (l *Leases) List() []Lease { return *l.view.Load() }

// Changed delivers when the list may be another; several changes may be one signal. It has one receiver.
func (l *Leases) Changed() <-chan struct{} { return l.changed }

// Revoke ends a lease before its time: its back end is told why, a message that is safe to show, and its tunnel ends. A
// lease that is not there is ObjectUnknown.
func (l *Leases) Revoke(ctx context.Context, tunnel TunnelID, why string) error {
	return l.loop.Do(ctx, func(t *leaseTable) error {
		h := t.find(tunnel)
		if h == nil {
			return noLease()
		}
		h.revoke(cardbroker.Errorf(cardbroker.Forbidden, "%s", why))
		return nil
	})
}

// Close ends all leases, with why as the reason that back ends are told, and grants none until Open.
func (l *Leases) Close(why error) {
	l.loop.Must(func(t *leaseTable) error {
		t.closed = closing(why)
		for _, h := range t.held {
			h.revoke(t.closed)
		}
		return nil
	})
}

// closing returns why as an error that is safe to show.
func closing(why error) *cardbroker.Error {
	if e, ok := errors.AsType[*cardbroker.Error](why); ok {
		return e
	}
	return cardbroker.Errorf(cardbroker.Forbidden, "the lease has ended")
}

// Open has leases granted again.
func (l *Leases) Open() {
	l.loop.Must(func(t *leaseTable) error {
		t.closed = nil
		return nil
	})
}

// acquire takes the reader of t until a time, for a back end that has held it since another. An id that another lease has is
// refused: a tunnel is found by it. What it returns is released in any case.
func (l *Leases) acquire(ctx context.Context, t Tunnel, since, until time.Time, k token) (*heldLease, error) {
	h := &heldLease{token: k, revoked: make(chan *cardbroker.Error, 1), attach: make(chan attached, 1)}
	return h, l.loop.Do(ctx, func(table *leaseTable) error {
		if table.closed != nil {
			return table.closed
		}
		if other := table.held[t.Reader]; other != nil {
			return other.Busy()
		}
		if table.find(t.ID) != nil {
			return cardbroker.Errorf(cardbroker.Conflict, "another lease has the tunnel's id")
		}
		h.Lease = Lease{Tunnel: t.ID, Reader: t.Reader, Tenant: t.Tenant, Method: t.Method, Backend: t.Backend,
			Since: since, Expires: until}
		table.held[t.Reader] = h
		return nil
	})
}

// renew makes the lease last until then.
func (l *Leases) renew(ctx context.Context, tunnel TunnelID, until time.Time) error {
	return l.loop.Do(ctx, func(t *leaseTable) error {
		h := t.find(tunnel)
		if h == nil || h.over {
			return noLease()
		}
		h.Expires = until
		return nil
	})
}

// release gives the reader back, if the lease has it, once nothing of the tunnel uses it any more.
func (l *Leases) release(h *heldLease) {
	l.loop.Must(func(t *leaseTable) error {
		if t.held[h.Reader] == h {
			delete(t.held, h.Reader)
		}
		return nil
	})
	select {
	case late := <-h.attach: // none comes any more
		discard(late.conn, noLease())
	default:
	}
}

func noLease() error {
	return cardbroker.Errorf(cardbroker.ObjectUnknown, "there is no such lease")
}

// leaseDuration says how long a lease lasts that a back end asked for.
func leaseDuration(asked time.Duration) time.Duration {
	if asked == 0 {
		return DefaultLease
	}
	return min(asked, MaxLease)
}

// granted says how long the lease lasts from now that a back end asked for.
func (e *exchange) granted(asked time.Duration) time.Duration {
	d, left := leaseDuration(asked), e.tunnel.LeaseMax
	if left == 0 {
		return d
	}
	if !e.since.IsZero() { // a renewal
		left -= time.Since(e.since)
	}
	return max(0, min(d, left))
}

// leaseTable is the state of [Leases]; the loop owns it. Commands check before they change anything, so a batch needs no
// transaction of its own.
type leaseTable struct {
	leases *Leases
	held   map[string]*heldLease // by reader
	closed *cardbroker.Error     // why no lease is granted; nil: they are

	watchers map[chan struct{}]bool
}

type heldLease struct {
	Lease
	token   token
	over    bool                   // revoked or expired; the reader is free once the tunnel has ended
	revoked chan *cardbroker.Error // capacity 1: why it was revoked, or that it has expired
	attach  chan attached          // capacity 1: a connection over which the back end takes it up again
	resumed firewall.Tally         // how often it did
}

// revoke ends the lease; only the first reason counts.
func (h *heldLease) revoke(why *cardbroker.Error) {
	if !h.over {
		h.over = true
		h.revoked <- why // capacity 1
	}
}

func (t *leaseTable) find(tunnel TunnelID) *heldLease {
	for _, h := range t.held {
		if h.Tunnel == tunnel {
			return h
		}
	}
	return nil
}

// Begin implements loop.Owner.
func (t *leaseTable) Begin() *leaseTable { return t }

// Commit implements loop.Owner: it publishes the list.
func (t *leaseTable) Commit(context.Context, *leaseTable) error {
	list := make([]Lease, 0, len(t.held))
	for _, h := range t.held {
		list = append(list, h.Lease)
	}
	slices.SortFunc(list, func(a, b Lease) int { return cmp.Compare(a.Reader, b.Reader) })
	t.leases.view.Store(&list)
	loop.Signal(t.leases.changed)
	for watcher := range t.watchers {
		loop.Signal(watcher)
	}
	return nil
}

// Deadline implements loop.Owner: it is when the next lease expires.
func (t *leaseTable) Deadline() (next time.Time) {
	for _, h := range t.held {
		if !h.over && (next.IsZero() || h.Expires.Before(next)) {
			next = h.Expires
		}
	}
	return next
}

// Tick implements loop.Owner.
func (t *leaseTable) Tick(_ *leaseTable, now time.Time) {
	for _, h := range t.held {
		if !h.over && !now.Before(h.Expires) {
			h.revoke(cardbroker.Errorf(cardbroker.Timeout, "the lease has expired"))
		}
	}
}
