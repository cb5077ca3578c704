// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/notice"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

// leaseOf returns the lease of the reader of that name.
func (a *Agent) leaseOf(reader string) (cardend.Lease, bool) {
	for _, l := range a.leases.List() {
		if l.Reader == reader {
			return l, true
		}
	}
	return cardend.Lease{}, false
}

// held says whether a back end has a lease of the reader of that name.
func (a *Agent) held(reader string) bool {
	_, ok := a.leaseOf(reader)
	return ok
}

// taken is ReaderBusy if a back end has a lease of the reader: another one has to wait. It does not say whose it is.
func (a *Agent) taken(reader string) error {
	lease, ok := a.leaseOf(reader)
	if !ok {
		return nil
	}
	return lease.Busy()
}

// holding names the back end that has a lease of the reader, for its user, and says until when.
func (a *Agent) holding(reader string) (who, until string) {
	lease, ok := a.leaseOf(reader)
	if !ok {
		return "", ""
	}
	return fmt.Sprintf("a back end (tenant %s)", lease.Tenant), lease.Expires.In(time.Local).Format("15:04")
}

// sole is ReaderBusy if a back end has the reader for itself: then a local program need not wait for its turn.
func (a *Agent) sole(reader string) error {
	lease, ok := a.leaseOf(reader)
	if !ok || lease.Share != cardbroker.ShareExclusive && lease.Share != cardbroker.ShareDirect {
		return nil
	}
	who, until := a.holding(reader)
	return cards.RefuseSole(who, until)
}

// notices tells the user on his desktop who holds his readers, and which of his certificates end soon, unless machine policy says otherwise.
func (a *Agent) notices(ctx context.Context) error {
	if a.cfg.Policy.NoNotices {
		return nil
	}
	changed, stop := a.leases.Watch()
	defer stop()
	return notice.New(notice.Config{Leases: a.noticed, Entries: a.entries, Changed: changed, End: a.endedOnDesktop, Read: a.lists, Log: a.cfg.Log}).Run(ctx)
}

// wasRead has the user told of what ends soon in a list of certificates. It waits for nobody.
func (a *Agent) wasRead(list []token.Certificate) {
	select {
	case a.lists <- list:
	default:
	}
}

// noticed are the leases as the desktop shows them.
func (a *Agent) noticed() (leases []notice.Lease) {
	for _, l := range a.leases.List() {
		leases = append(leases, notice.Lease{Tunnel: l.Tunnel.String(), Tenant: string(l.Tenant), Address: l.Backend, Reader: l.Reader, Since: l.Since})
	}
	return leases
}

// endedOnDesktop ends a lease whose notice's button the user has pressed.
func (a *Agent) endedOnDesktop(tunnel string) {
	a.endLater(tunnel, userEnds, cardbroker.Event{Detail: "on the desktop"})
}

// userEnds is what a back end is told whose lease the user has ended.
const userEnds = "the user has ended the lease"

// revokedByAdmin ends a lease because an administrator has said so.
func (a *Agent) revokedByAdmin(revoke api.RevokeLease) {
	a.endLater(revoke.Tunnel, "an administrator has ended the lease", cardbroker.Event{Detail: "by an administrator"})
}

// endLater is endLease for who waits for nobody.
func (a *Agent) endLater(tunnel, why string, by cardbroker.Event) {
	a.tunnels.Go("revoke", func(ctx context.Context) error {
		id, err := cardend.ParseTunnelID(tunnel)
		if err == nil {
			err = a.endLease(ctx, id, why, by)
		}
		if err != nil {
			a.cfg.Log.Info("a lease cannot be ended", "tunnel", tunnel, "err", err)
		}
		return nil
	})
}

// endLease ends a lease, and records it with what the event says of who did.
func (a *Agent) endLease(ctx context.Context, id cardend.TunnelID, why string, by cardbroker.Event) error {
	if err := a.leases.Revoke(ctx, id, why); err != nil {
		return err
	}
	by.Name, by.Tunnel = cardbroker.EventLeaseRevoked, id.String()
	a.record(by)
	return nil
}

// cutAt is since when the back end has no connection; nil: it has one.
func cutAt(l cardend.Lease) *time.Time {
	if l.Cut.IsZero() {
		return nil
	}
	at := l.Cut.UTC()
	return &at
}
