// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"

	"github.com/cardbroker/cardbroker/broker/dialout"
	"github.com/cardbroker/cardbroker/broker/tenant"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
)

// serveDialled calls a rendezvous and serves it as a back end that came to the door.
func (b *Broker) serveDialled(ctx context.Context, to *dialout.Caller) error {
	d := door{Broker: b, tenants: tenant.Dialled{Tenant: to.Tenant(), URL: to.URL()}}
	server := httpserver.New(httpserver.Config{
		Routes:    d.readerRoutes(),
		Authorize: d.authorize,
		Refused:   b.refused,
		MaxConns:  dialout.MaxConns,
		Log:       b.cfg.Log,
	})
	group := run.New(ctx)
	group.Go("serve", func(ctx context.Context) error {
		return server.Serve(ctx, httpserver.Listener{Listener: to, Kind: dialout.Kind{}})
	})
	group.Go("call", to.Run)
	return group.Wait()
}
