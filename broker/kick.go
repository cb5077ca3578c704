// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// kick ends the agent of a session: it is told so, gives its port back and does not come back by itself. Its user may start
// another; who is to be kept out is not an agent's matter.
func (b *Broker) kick(w http.ResponseWriter, r *http.Request) error {
	var wanted api.Kick
	if err := httpserver.Decode(r, &wanted); err != nil {
		return err
	}
	agent, err := b.kicked(wanted)
	if err != nil {
		return err
	}
	send, err := b.board.Sender(r.Context(), agent.Route)
	if err != nil {
		return err
	}
	if send == nil {
		return cardbroker.Errorf(cardbroker.NoAgent, "the agent of session %s is gone", wanted.Session)
	}
	caller := httpserver.CallerOf(r.Context())
	b.record(&agent.Key, cardbroker.Event{Name: cardbroker.EventAdmin, Detail: fmt.Sprintf("kick, by uid %s", caller.User)})
	b.cfg.Log.Info("agent kicked", "user", agent.Key.User.String(), "session", agent.Key.Session, "port", agent.Port)
	if err := send(api.FromBroker{Kicked: &api.Kicked{}}); err != nil {
		return coordinator.AgentGone(err)
	}
	return httpserver.JSON(w, struct{}{})
}

// kicked finds the one agent that is meant. Names of sessions are the users' own, so several users may have one.
func (b *Broker) kicked(wanted api.Kick) (found cardbroker.Agent, err error) {
	var users []string
	for _, agent := range b.registry.View().Agents() {
		id := agent.Key.User
		if agent.Key.Session == wanted.Session && (wanted.User == "" || wanted.User == id.String() || wanted.User == coordinator.UserName(id)) {
			found, users = agent, append(users, coordinator.UserName(id))
		}
	}
	switch len(users) {
	case 0:
		return found, cardbroker.Errorf(cardbroker.NoAgent, "no agent runs in session %s", wanted.Session)
	case 1:
		return found, nil
	}
	return found, cardbroker.Errorf(cardbroker.SessionAmbiguous, "several users have a session %s: %s; name one with --user",
		wanted.Session, strings.Join(users, ", "))
}
