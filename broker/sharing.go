// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"

	"github.com/cardbroker/cardbroker/api"
)

// tellSharing tells every agent when agents of another user come to the host, and when there are none any more: a PC/SC
// service that all users can reach is good for one user only. No agent waits for another.
func (b *Broker) tellSharing(ctx context.Context) error {
	for {
		select {
		case <-b.registry.Turned():
		case <-ctx.Done():
			return nil
		}
		sharing := b.sharing()
		b.cfg.Log.Info("agents are told whether other users have agents", "status", sharing.Shared)
		senders, err := b.hub.senders(ctx)
		if err != nil {
			return nil // the hub ends, and so do we
		}
		for _, send := range senders {
			b.conns.Go("tell sharing", func(context.Context) error {
				send(api.FromBroker{Sharing: b.sharing()}) // a failure ends the link, and the agent comes back
				return nil
			})
		}
	}
}

// sharing is what agents are told of the host at the moment.
func (b *Broker) sharing() *api.Sharing {
	s := b.registry.View().Sharing()
	return &api.Sharing{Shared: s.Shared, Turns: s.Turns}
}
