// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"net/http"
	"os/user"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// Entry reads the body of reserve, renew and release: the caller's own entry and its claim.
func Entry(r *http.Request) (registry.Claim, api.Claim, error) {
	var body api.Claim
	if err := httpserver.Decode(r, &body); err != nil {
		return registry.Claim{}, body, err
	}
	claim, err := checkClaim(httpserver.CallerOf(r.Context()), body)
	return claim, body, err
}

// checkClaim returns what the registry wants to know: the user by the kernel, the session by the agent's word.
func checkClaim(caller peer.Caller, body api.Claim) (registry.Claim, error) {
	session, err := cardbroker.ParseSessionID(string(body.Session))
	if err != nil {
		return registry.Claim{}, err
	}
	if len(body.Claim) != cardbroker.RandomSecretSize {
		return registry.Claim{}, cardbroker.Errorf(cardbroker.Invalid, "the claim has %d characters, want %d", len(body.Claim), cardbroker.RandomSecretSize)
	}
	return registry.Claim{
		Key:  cardbroker.AgentKey{User: caller.User, Session: session},
		PID:  caller.PID,
		Hash: cardbroker.NewSecret([]byte(body.Claim)).Hash(),
	}, nil
}

// Release gives the port of the caller's session back.
func (c *Coordinator) Release(w http.ResponseWriter, r *http.Request) error {
	claim, _, err := Entry(r)
	if err != nil {
		return err
	}
	if err := c.cfg.Registry.Release(r.Context(), claim); err != nil {
		return err
	}
	return httpserver.JSON(w, struct{}{})
}

// OwnSessions lists the caller's own agents.
func (c *Coordinator) OwnSessions(w http.ResponseWriter, r *http.Request) error {
	view := c.cfg.Registry.View()
	return httpserver.JSON(w, c.rows(view.ByUser(httpserver.CallerOf(r.Context()).User), view.Epoch()))
}

// Sessions lists all agents.
func (c *Coordinator) Sessions(w http.ResponseWriter, _ *http.Request) error {
	view := c.cfg.Registry.View()
	return httpserver.JSON(w, c.rows(view.Agents(), view.Epoch()))
}

func (c *Coordinator) rows(agents []cardbroker.Agent, epoch uint64) api.Sessions {
	rows := api.Sessions{Sessions: make([]api.Session, len(agents)), Epoch: epoch}
	said := map[cardbroker.Route]api.Presence{}
	for _, l := range c.Hub.View() {
		said[l.Agent.Route] = l.Presence
	}
	names := map[cardbroker.UserID]string{} // each is read once: the system may ask a directory for it
	for _, agent := range agents {
		if _, known := names[agent.Key.User]; !known {
			names[agent.Key.User] = UserName(agent.Key.User)
		}
	}
	for i, agent := range agents {
		presence := said[agent.Route]
		rows.Sessions[i] = api.Session{
			Session:    agent.Key.Session,
			UID:        api.UID(agent.Key.User),
			SID:        agent.Key.User.SID,
			User:       names[agent.Key.User],
			PID:        agent.PID,
			Port:       agent.Port,
			State:      agent.State,
			Since:      agent.Since,
			ListenerOK: c.CheckPort(agent.Port, agent.Key.User, false) == nil,
			Held:       c.cfg.Held,
			Kind:       presence.Kind,
			Presence:   presence.Word(),
		}
	}
	return rows
}

// UserName returns what people call the user; his id where the system does not know.
func UserName(id cardbroker.UserID) string {
	if u, err := user.LookupId(id.String()); err == nil {
		return u.Username
	}
	return id.String()
}
