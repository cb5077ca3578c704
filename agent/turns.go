// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
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
	return cardbroker.Errorf(cardbroker.ReaderBusy, "another back end holds the reader until %s", lease.Expires.UTC().Format("15:04 UTC"))
}

// holding names the back end that has a lease of the reader, for its user, and says until when.
func (a *Agent) holding(reader string) (who, until string) {
	lease, ok := a.leaseOf(reader)
	if !ok {
		return "", ""
	}
	return fmt.Sprintf("a back end (tenant %s)", lease.Tenant), lease.Expires.In(time.Local).Format("15:04")
}

// sole is ReaderBusy if a back end has the reader for itself.
func (a *Agent) sole(reader string) error { return nil }

// revokedByAdmin ends a lease because an administrator has said so.
func (a *Agent) revokedByAdmin(revoke api.RevokeLease) {
	a.tunnels.Go("revoke", func(ctx context.Context) error {
		id, err := cardend.ParseTunnelID(revoke.Tunnel)
		if err == nil {
			err = a.endLease(ctx, id, "an administrator has ended the lease", cardbroker.Event{Detail: "by an administrator"})
		}
		if err != nil {
			a.cfg.Log.Info("an administrator has revoked a lease that is not there", "tunnel", revoke.Tunnel, "err", err)
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
