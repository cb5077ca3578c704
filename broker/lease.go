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
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// revokeLimit is how long an agent may take to end a lease that an administrator has revoked.
const revokeLimit = time.Second

// spliced is a tunnel that the broker passes on.
type spliced struct {
	tenant cardbroker.Tenant
	cut    context.CancelCauseFunc // ends it, and tells both sides why
	ended  chan struct{}           // closed when it has ended
}

// beginSplice enters a tunnel; end takes it out.
func (h *hub) beginSplice(id string, s *spliced) (end func()) {
	h.loop.Must(func(state *hubState) error {
		state.splices[id] = s
		return nil
	})
	return func() {
		close(s.ended)
		h.loop.Must(func(state *hubState) error {
			delete(state.splices, id)
			return nil
		})
	}
}

// spliceOf returns the tunnel of that id; nil: there is none.
func (h *hub) spliceOf(ctx context.Context, id string) (s *spliced, err error) {
	err = h.loop.Do(ctx, func(state *hubState) error {
		s = state.splices[id]
		return nil
	})
	return s, err
}

// holders returns the links of the agents that say that they have such a lease.
func (h *hub) holders(tunnel string) (links []linkView) {
	for _, l := range *h.view.Load() {
		if slices.ContainsFunc(l.leases, func(lease api.Lease) bool { return lease.Tunnel == tunnel }) {
			links = append(links, l)
		}
	}
	return links
}

// leases lists which back ends hold which readers.
func (b *Broker) leases(w http.ResponseWriter, _ *http.Request) error {
	all := api.Leases{Leases: []api.Lease{}}
	for _, link := range *b.hub.view.Load() {
		for _, lease := range link.leases {
			lease.Session, lease.User = link.agent.Key.Session, userName(link.agent.Key.User)
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
	splice, err := b.hub.spliceOf(r.Context(), tunnel)
	if err != nil {
		return err
	}
	holders := b.hub.holders(tunnel)
	if splice == nil && len(holders) == 0 {
		return cardbroker.Errorf(cardbroker.ObjectUnknown, "there is no such lease")
	}
	event := cardbroker.Event{Name: cardbroker.EventAdmin, Tunnel: tunnel,
		Detail: fmt.Sprintf("lease revoke, by uid %s", httpserver.CallerOf(r.Context()).User)}
	if splice != nil {
		event.Tenant = splice.tenant
	}
	if len(holders) == 0 {
		b.record(nil, event)
	}
	for _, holder := range holders {
		b.record(&holder.agent.Key, event)
		if send, err := b.hub.sender(r.Context(), holder.agent.Route); err == nil && send != nil {
			send(api.FromBroker{Revoke: &api.RevokeLease{Tunnel: tunnel}}) // an error is the link's end
		}
	}
	b.cfg.Log.Info("lease revoked by an administrator", "tunnel", tunnel, "tenant", event.Tenant)
	obeyed, err := b.obeyed(r.Context(), tunnel, splice, len(holders) > 0)
	if err != nil {
		return err
	}
	return httpserver.JSON(w, api.LeaseRevoked{Cut: !obeyed})
}

// obeyed waits until the lease has ended, which it does at once where its agent obeys. Else, or where no agent could be told,
// the tunnel is cut.
func (b *Broker) obeyed(ctx context.Context, tunnel string, splice *spliced, told bool) (bool, error) {
	changed, stop, err := b.hub.watch(ctx)
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
	var ended <-chan struct{} // nil: it has
	if splice != nil {
		ended = splice.ended
	}
	for ended != nil || len(b.hub.holders(tunnel)) > 0 {
		select {
		case <-changed:
		case <-ended:
			ended = nil
		case <-limit.C:
			if splice != nil {
				splice.cut(cardbroker.Errorf(cardbroker.Forbidden, revokedByAdmin))
			}
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return true, nil
}

// revokedByAdmin is what the back end is told if its agent does not.
const revokedByAdmin = "an administrator has ended the lease"
