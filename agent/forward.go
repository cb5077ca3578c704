// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// fetch brings a connection that the broker has accepted in the agent's place, and has it served like one that the agent
// has accepted itself. Who is behind it the broker has asked the kernel, and the client of the broker has asked the kernel who
// the broker is.
func (a *Agent) fetch(forwards *httpserver.Forwards, f api.Forward) {
	a.tunnels.Go("forward", func(ctx context.Context) error {
		conn, err := a.broker.ForwardLeg(ctx, f.ID)
		if err != nil {
			a.cfg.Log.Info("cannot fetch a forwarded connection", "err", err)
			return nil
		}
		caller := httpserver.Caller{
			User:   f.User(),
			PID:    f.PID,
			Inode:  f.Inode,
			Cgroup: f.Cgroup,
			Client: f.Client,
			Server: f.Server,
		}
		if err := forwards.Deliver(ctx, &httpserver.Forward{Conn: conn, Caller: caller, TLS: f.TLS}); err != nil {
			conn.Close()
		}
		return nil
	})
}

// hostAlias is what pages may call this host at the moment, besides localhost.
func (a *Agent) hostAlias() string {
	if registered := a.registration.Load(); registered != nil {
		return registered.Name
	}
	return ""
}
