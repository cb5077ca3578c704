// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"net"
	"net/http"
	"slices"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// Scrapers is who may read the metrics over TCP, which Prometheus needs. Every user of the host reaches a loopback port, so
// the kernel says who is asking.
type Scrapers struct {
	Listen []net.Listener      // on 127.0.0.1 and, where there is IPv6, on [::1]; none: the local socket alone
	Users  []cardbroker.UserID // besides those who may administer the broker
}

// serveMetrics serves the metrics to scrapers, until ctx ends.
func (b *Broker) serveMetrics(ctx context.Context) error {
	server := httpserver.New(httpserver.Config{
		Routes:    []httpserver.Route{{Method: "GET", Path: "/metrics", Access: httpserver.Admin, Handle: b.metrics.Serve}},
		Authorize: b.authorizeScraper,
		Refused:   b.refused,
		MaxConns:  b.cfg.MaxConns,
		Log:       b.cfg.Log,
	})
	listeners := make([]httpserver.Listener, len(b.cfg.Metrics.Listen))
	for i, listener := range b.cfg.Metrics.Listen {
		listeners[i] = httpserver.Listener{Listener: listener, Kind: httpserver.Loopback{Kernel: b.kernel}}
	}
	return server.Serve(ctx, listeners...)
}

// authorizeScraper admits the users that the configuration names, and administrators.
func (b *Broker) authorizeScraper(r *http.Request, access httpserver.Access) error {
	if access == httpserver.Admin && slices.Contains(b.cfg.Metrics.Users, httpserver.CallerOf(r.Context()).User) {
		return nil
	}
	return b.authorizeLocal(r, access)
}
