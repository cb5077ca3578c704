// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// resumeTunnel brings a leg over which a back end takes its lease up again, or says that it has none.
func (a *Agent) resumeTunnel(link *socket.Conn, open api.TunnelOpen, secret cardbroker.Secret) {
	a.tunnels.Go("resume", func(ctx context.Context) error {
		lease, err := a.leases.Take(ctx, secret, open.Tenant)
		if err == nil && open.Reader != cardbroker.TicketReader {
			err = refuseTicket()
		}
		if err != nil {
			a.refuseTunnel(link, open, "", err)
			return nil
		}
		leg, err := a.broker.TunnelLeg(ctx, open.ID)
		if err != nil {
			a.refuseTunnel(link, open, lease.Reader, err)
			return nil
		}
		leg.LimitSilence(wire.MaxSilence)
		over := open.ID
		open.ID = lease.Tunnel().String() // events are of the tunnel that the back end has had all the time
		if lease.Count > 0 {
			event := tunnelEvent(cardbroker.EventTunnelResumed, open, lease.Reader, nil)
			event.Detail, event.Count = "over "+over, lease.Count
			a.record(event)
		}
		if err := lease.Attach(ctx, leg); err != nil {
			a.cfg.Log.Info("a lease ended while it was resumed", "tunnel", open.ID, "err", err)
		}
		return nil
	})
}

// restoreLeases takes over the leases that an earlier agent of the session has left behind. Their back ends may come back.
func (a *Agent) restoreLeases() {
	for _, left := range a.holder.Left() {
		id, err := cardend.ParseTunnelID(left.Tunnel)
		a.cards.Suspect(left.Reader)
		if err != nil || left.Standing && !a.cfg.Policy.Tenant(left.Tenant).Stands(left.Reader) { // what policy does not offer any more
			left.Discard()
			continue
		}
		a.tunnels.Go("restored tunnel", func(ctx context.Context) error {
			if left.Origin != "" { // what a page was given ends with its consent
				var stop func()
				ctx, stop = httpserver.While(ctx, a.consents.While(left.Origin))
				defer stop()
			}
			tunnel, stop := a.tunnel(left.Note)
			defer stop()
			tunnel.ID = id
			open := api.TunnelOpen{ID: left.Tunnel, Tenant: left.Tenant, Method: left.Method, Address: left.Backend}
			log := a.cfg.Log.With("tunnel", left.Tunnel, "tenant", left.Tenant, "method", left.Method, "backend", left.Backend)
			log.Info("the lease of an earlier agent is held for its back end", "reader", left.Reader)
			err := a.holder.Restore(ctx, left, tunnel)
			a.record(tunnelEvent(cardbroker.EventTunnelEnded, open, left.Reader, err))
			log.Info("tunnel ended", "err", err)
			return nil
		})
	}
}
