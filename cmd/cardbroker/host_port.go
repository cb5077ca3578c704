// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
)

const (
	handOver  = 5 * time.Second       // for an elected leader to leave the port, and those who are elected after it
	bindAgain = 20 * time.Millisecond // between two tries
)

// takePort listens on the well-known port, which makes this host one with a service. An agent that was elected to keep the
// registry, because there was none, is asked to leave the port. Errors: Conflict says who has it.
func takePort(ctx context.Context, port cardbroker.Port, log *slog.Logger) ([]net.Listener, error) {
	deadline, left, looked := time.Now().Add(handOver), false, false
	why := "the well-known port was free"
	for {
		listeners, err := httpserver.ListenLoopback(ctx, port)
		if err == nil {
			log.Info("this host has a service", "port", port, "reason", why)
			return listeners, nil
		}
		if cardbroker.ReasonOf(err) != cardbroker.Conflict || time.Now().After(deadline) {
			return nil, whoHas(port, err)
		}
		asked := client.AskToResign(ctx, port)
		reason := cardbroker.ReasonOf(asked)
		switch {
		case reason == "":
			left, looked, why = true, false, "the agent that was elected has left the well-known port"
		case reason == cardbroker.Unavailable && left:
		case reason == cardbroker.Unavailable && !looked:
			looked = true // whoever had the port may have ended just now, and so could not answer
		case reason == cardbroker.Unavailable: // he cuts connections, or has the port of [::1] alone
			return nil, whoHas(port, err)
		case reason == cardbroker.CallerRefused:
			return nil, whoHas(port, cardbroker.Wrapf(asked, cardbroker.Conflict,
				"port %d seems to have an agent that was elected; it leaves it to root and to the account that its agent.yaml names, not to us", port))
		default:
			return nil, whoHas(port, cardbroker.Wrapf(asked, cardbroker.Conflict, "%s", api.Describe(err).Description))
		}
		select {
		case <-time.After(bindAgain):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// whoHas adds to a Conflict whose program has the port, where the kernel tells.
func whoHas(port cardbroker.Port, err error) error {
	if cardbroker.ReasonOf(err) != cardbroker.Conflict {
		return err
	}
	kernel := peer.NewKernel()
	defer kernel.Close()
	listener, unknown := kernel.Listener(port)
	if unknown != nil {
		return err
	}
	who := fmt.Sprintf("one of user %s (uid %s)", coordinator.UserName(listener.User), listener.User)
	if pid, name := listener.Process(); pid != 0 {
		who += fmt.Sprintf(", process %d (%s)", pid, name)
	}
	return cardbroker.Wrapf(errors.Unwrap(err), cardbroker.Conflict, "%s: %s; end it, or name another port with --listen", api.Describe(err).Description, who)
}
