// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"fmt"
	"net/http"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/broker/dialout"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// complete adds what an agent must know of the doors.
func (b *Broker) complete(registered *api.Registered) {
	registered.BackendURL = b.backendURL()
	registered.Name = b.hostAlias()
	registered.Dialled = dialout.ByTenant(b.cfg.DialOut)
}

// came records an agent that has registered.
func (b *Broker) came(agent cardbroker.Agent) {
	b.record(&agent.Key, cardbroker.Event{Name: cardbroker.EventAgentRegistered, Detail: fmt.Sprintf("port %d, pid %d", agent.Port, agent.PID)})
}

// left records that an agent's link has ended.
func (b *Broker) left(agent cardbroker.Agent) {
	b.record(&agent.Key, cardbroker.Event{Name: cardbroker.EventAgentLeft, Detail: fmt.Sprintf("port %d", agent.Port)})
}

// heard takes what an agent says of readers, tunnels and callers.
func (b *Broker) heard(ctx context.Context, agent cardbroker.Agent, news *rate.Limiter, message api.FromAgent) (err error) {
	switch {
	case message.Offers != nil:
		if err = news.Wait(ctx); err == nil {
			err = b.board.setOffers(agent.Route, *message.Offers)
		}
	case message.Refused != nil:
		refusal := message.Refused.Error.Error()
		b.board.deliver(ctx, message.Refused.ID, agent.Key.User, legAnswer{err: refusal})
	case message.Caller != nil:
		if news.Allow() { // else it is lost: what an agent refuses is its own business first
			b.board.refused(agentRefusal(agent, *message.Caller))
			b.sayRefused(agent.Key, *message.Caller)
		}
	case message.Event != nil:
		if err = news.Wait(ctx); err == nil {
			b.say(agent.Key, *message.Event)
		}
	case message.Usage != nil:
		if news.Allow() { // else it is lost: it is for statistics only
			b.metrics.Used(agent.Route, *message.Usage)
		}
	default:
		err = coordinator.Unexpected()
	}
	return err
}

// tunnelLeg takes an agent's leg of a tunnel that it was asked to open.
func (b *Broker) tunnelLeg(w http.ResponseWriter, r *http.Request) error {
	id, user := r.PathValue("id"), httpserver.CallerOf(r.Context()).User
	if err := b.tunnels.Check(r); err != nil {
		return err
	}
	if err := b.board.claim(r.Context(), id, user); err != nil {
		return err
	}
	conn, err := b.tunnels.Upgrade(w, r)
	if err != nil {
		return nil // it has answered
	}
	httpserver.Elsewhere(r.Context()) // the tunnel counts at the door
	if err := b.board.deliver(r.Context(), id, user, legAnswer{leg: conn}); err != nil {
		conn.Shutdown(err)
		conn.Close()
	}
	return nil
}
