// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// revokeLimit is how long an agent may take to end a lease that an administrator has revoked.
const revokeLimit = time.Second

// spliced is a tunnel that the broker passes on.
type spliced struct {
	route  cardbroker.Route // of the agent, as the ticket says; empty: it was a standing offer
	tenant cardbroker.Tenant
	cut    context.CancelCauseFunc // ends it, and tells both sides why
	ended  chan struct{}           // closed when it has ended
}

// beginSplice enters a tunnel; end takes it out.
func (s *switchboard) beginSplice(id string, t *spliced) (end func()) {
	s.Must(func(*coordinator.Links) error {
		s.splices[id] = t
		return nil
	})
	return func() {
		close(t.ended)
		s.Must(func(*coordinator.Links) error {
			delete(s.splices, id)
			return nil
		})
	}
}

// splicesOf returns the tunnels over which a lease may be used: the one of its id and, for a lease that was resumed over another
// connection, those of its tenant to the agents that say that they have it.
func (s *switchboard) splicesOf(ctx context.Context, tunnel string, holders []coordinator.View) (found []*spliced, err error) {
	err = s.Do(ctx, func(*coordinator.Links) error {
		if t := s.splices[tunnel]; t != nil {
			found = append(found, t)
			return nil
		}
		for _, t := range s.splices {
			for _, holder := range holders {
				if t.route == holder.Agent.Route && slices.ContainsFunc(holder.Leases, func(l api.Lease) bool { return l.Tunnel == tunnel && l.Tenant == t.tenant }) {
					found = append(found, t)
				}
			}
		}
		return nil
	})
	return found, err
}

// holders returns the links of the agents that say that they have such a lease.
func (s *switchboard) holders(tunnel string) (links []coordinator.View) {
	for _, l := range s.View() {
		if slices.ContainsFunc(l.Leases, func(lease api.Lease) bool { return lease.Tunnel == tunnel }) {
			links = append(links, l)
		}
	}
	return links
}

// leases lists which back ends hold which readers.
func (b *Broker) leases(w http.ResponseWriter, _ *http.Request) error {
	all := api.Leases{Leases: []api.Lease{}}
	for _, link := range b.board.View() {
		for _, lease := range link.Leases {
			lease.Session, lease.User = link.Agent.Key.Session, coordinator.UserName(link.Agent.Key.User)
			all.Leases = append(all.Leases, lease)
		}
	}
	return httpserver.JSON(w, all)
}

// revokeLease has the agent end a lease, and cuts the tunnel where it does not. What an agent says of its leases is its own
// word: an id that another's lease has costs nobody but who said it.
func (b *Broker) revokeLease(w http.ResponseWriter, r *http.Request) error {
	tunnel := r.PathValue("tunnel")
	if raw, err := hex.DecodeString(tunnel); err != nil || len(raw) != tunnelIDSize {
		return cardbroker.Errorf(cardbroker.Invalid, "a tunnel's id is not %d hexadecimal digits", 2*tunnelIDSize)
	}
	holders := b.board.holders(tunnel)
	splices, err := b.board.splicesOf(r.Context(), tunnel, holders)
	if err != nil {
		return err
	}
	if len(splices) == 0 && len(holders) == 0 {
		return cardbroker.Errorf(cardbroker.ObjectUnknown, "there is no such lease")
	}
	event := cardbroker.Event{Name: cardbroker.EventAdmin, Tunnel: tunnel,
		Detail: fmt.Sprintf("lease revoke, by uid %s", httpserver.CallerOf(r.Context()).User)}
	if len(splices) > 0 {
		event.Tenant = splices[0].tenant
	}
	if len(holders) == 0 {
		b.record(nil, event)
	}
	for _, holder := range holders {
		b.record(&holder.Agent.Key, event)
		if send, err := b.board.Sender(r.Context(), holder.Agent.Route); err == nil && send != nil {
			send(api.FromBroker{Revoke: &api.RevokeLease{Tunnel: tunnel}}) // an error is the link's end
		}
	}
	b.cfg.Log.Info("lease revoked by an administrator", "tunnel", tunnel, "tenant", event.Tenant)
	cut, err := b.cutUnless(r.Context(), tunnel, splices, len(holders) > 0)
	if err != nil {
		return err
	}
	return httpserver.JSON(w, api.LeaseRevoked{Cut: cut})
}

// cutUnless waits until the lease, or all that it may be used over, has ended, which it does at once where its agent obeys. Else, or
// where no agent could be told, the tunnels are cut.
func (b *Broker) cutUnless(ctx context.Context, tunnel string, splices []*spliced, told bool) (bool, error) {
	changed, stop, err := b.board.Watch(ctx)
	if err != nil {
		return false, err
	}
	defer stop()
	patience := revokeLimit
	if !told {
		patience = 0
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for len(splices) > 0 {
		select {
		case <-splices[0].ended:
			splices = splices[1:]
		case <-changed:
			if told && len(b.board.holders(tunnel)) == 0 {
				return false, nil
			}
		case <-limit.C:
			for _, s := range splices {
				s.cut(cardbroker.Errorf(cardbroker.Forbidden, revokedByAdmin))
			}
			return true, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return false, nil
}

// revokedByAdmin is what the back end is told if its agent does not.
const revokedByAdmin = "an administrator has ended the lease"
