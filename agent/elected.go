// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/trust"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// electedLimit is how long an elected registry may take to register us: one that was stopped just then would have us wait for ever.
const electedLimit = 5 * time.Second

// otherEnd is whom the last link leads to.
func (a *Agent) otherEnd() trust.Registry {
	if a.cfg.Election == nil {
		return trust.Registry{}
	}
	leader, elected := a.cfg.Election.Leader()
	return trust.Registry{Elected: elected, Foreign: elected && leader != a.self}
}

// register says what this agent has bound, or that it has what was reserved, and takes the answer for what it is worth. Errors: those of the
// registry; Unauthenticated if nothing is bound, and a service would have to.
func (a *Agent) register(conn *socket.Conn, e enrolment, from trust.Registry) (api.Registered, error) {
	r := api.Register{Claim: e.claim, IPv6: len(e.listeners) > 1}
	bound := len(e.listeners) > 0
	if bound && a.cfg.Election != nil {
		r.Port = e.port
	}
	if !from.Elected {
		return askRegistration(conn, r, from)
	}
	if !bound {
		return api.Registered{}, cardbroker.Errorf(cardbroker.Unauthenticated, "the service has gone that listened on port %d for this agent", e.port)
	}
	a.voter = a.cfg.Election.Self()
	r.Voter = &a.voter
	registered, err := socket.Within(conn, electedLimit, func() (api.Registered, error) { return askRegistration(conn, r, from) })
	if err == nil {
		err = a.epochs.Accept(registered.Epoch)
	}
	return registered, err
}

// announceElected tells an elected registry what it needs to send web pages here, and nothing of readers, tenants and events: those are no
// business of another user's, and it has no lists and no audit log. Events wait for the next service.
func (a *Agent) announceElected(ctx context.Context, conn *socket.Conn) error {
	var stood api.Presence
	made := a.keys.Ready() // nil once the registry was told
	for {
		stands := *a.present.stands.Load()
		if stands = (api.Presence{Kind: stands.Kind, Display: stands.Display}); stands != stood {
			if err := conn.WriteJSON(api.FromAgent{Presence: &stands}); err != nil {
				return err
			}
			stood = stands
		}
		if self := a.cfg.Election.Self(); self != a.voter {
			if err := conn.WriteJSON(api.FromAgent{Voter: &self}); err != nil {
				return err
			}
			a.voter = self
		}
		select {
		case <-a.present.changed:
		case <-a.cfg.Election.Changed():
		case <-made:
			if err := a.tellDeviceKey(conn); err != nil {
				return err
			}
			made = nil
		case <-ctx.Done():
			return nil
		}
	}
}
