// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"log/slog"
	"strconv"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/run"
)

// Broker is a client of a broker that runs as root, or as ourselves.
func Broker(socket string) *client.Broker {
	return client.NewBroker(client.BrokerConfig{Socket: socket, Accounts: []cardbroker.UserID{peer.Self()}})
}

// Idle runs agents of our user, each in a session of its own, until the group ends. It returns when all are registered.
func Idle(group *run.Group, socket, state string, count int) error {
	ready := make(chan struct{}, count)
	for i := range count {
		one, err := agent.New(agent.Config{
			Session: cardbroker.SessionID(strconv.Itoa(i)),
			State:   state,
			Socket:  socket,
			Sandbox: cards.Config{Program: "none"},
			Version: "bench",
			Ready:   func(home.Note) { ready <- struct{}{} },
			Log:     slog.New(slog.DiscardHandler),
		}, Broker(socket))
		if err != nil {
			return err
		}
		group.Go("agent", one.Run)
	}
	for range count {
		select {
		case <-ready:
		case <-group.Context().Done():
			return group.Wait()
		}
	}
	return nil
}
