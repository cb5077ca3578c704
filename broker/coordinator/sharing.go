// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"

	"github.com/cardbroker/cardbroker/api"
)

// tellSharing tells every agent when agents of another user come to the host, and when there are none any more: a PC/SC
// service that all users can reach is good for one user only. No agent waits for another.
func (c *Coordinator) tellSharing(ctx context.Context) error {
	for {
		select {
		case <-c.cfg.Registry.Turned():
		case <-ctx.Done():
			return nil
		}
		sharing := c.sharing()
		c.cfg.Log.Info("agents are told whether other users have agents", "status", sharing.Shared)
		senders, err := c.Hub.senders(ctx)
		if err != nil {
			return nil // the hub ends, and so do we
		}
		for _, send := range senders {
			c.Go("tell sharing", func(context.Context) error {
				send(api.FromBroker{Sharing: c.sharing()}) // a failure ends the link, and the agent comes back
				return nil
			})
		}
	}
}

// sharing is what agents are told of the host at the moment.
func (c *Coordinator) sharing() *api.Sharing {
	s := c.cfg.Registry.View().Sharing()
	return &api.Sharing{Shared: s.Shared, Turns: s.Turns}
}
