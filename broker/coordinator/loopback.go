// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"net/http"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/nearest"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// LoopbackRoutes are what web pages and local programs ask on the well-known port.
func (c *Coordinator) LoopbackRoutes() []httpserver.Route {
	return []httpserver.Route{
		{Method: "GET", Path: "/cb/v1/agent", Access: httpserver.Public, Handle: c.ownAgent},
		{Method: "GET", Path: "/device-key", Access: httpserver.Public, Handle: c.deviceKey},
		{Method: "GET", Path: "/docs", Access: httpserver.Public, Handle: httpserver.Docs},
		{Method: "GET", Path: "/healthz", Access: httpserver.Public, Handle: c.health},
		{Method: "GET", Path: "/info", Access: httpserver.Public, Handle: c.info},
		{Method: "GET", Path: "/openapi.yaml", Access: httpserver.Public, Handle: httpserver.OpenAPI},
		{Method: "GET", Path: "/v3/agents", Access: httpserver.Public, Handle: c.t1cAgents},
		{Method: "POST", Path: "/v3/consent", Access: httpserver.Public, Handle: c.consent, Limit: consentLimit},
		{Method: "POST", Path: "/v3/validate", Access: httpserver.Public, Handle: c.validate},
	}
}

func (c *Coordinator) info(w http.ResponseWriter, r *http.Request) error {
	server := httpserver.CallerOf(r.Context()).Server
	return httpserver.JSON(w, api.NewInfo(c.cfg.HostName,
		api.InfoService{URL: httpserver.URL(r), APIPort: cardbroker.Port(server.Port()), DeviceType: "PROXY"},
		api.InfoCardbroker{Version: c.cfg.Version, Mode: c.cfg.Mode, Epoch: c.cfg.Registry.View().Epoch()}))
}

// ownAgent tells of the caller's own agent. Its thumbprint lets a page see that the key which it gets at the agent's port is that
// agent's. A page needs the user's consent.
func (c *Coordinator) ownAgent(w http.ResponseWriter, r *http.Request) error {
	agent, err := c.Resolve(httpserver.CallerOf(r.Context()))
	if err != nil {
		return err
	}
	if _, err := c.consentDays(r, agent); err != nil {
		return err
	}
	return httpserver.JSON(w, api.OwnAgent{
		Port:                agent.Port,
		Session:             agent.Key.Session,
		State:               agent.State,
		DeviceKeyThumbprint: c.Hub.keyOf(agent.Route).Thumbprint,
	})
}

// health answers 200, or 503 while nothing can be written. It says nothing else.
func (c *Coordinator) health(w http.ResponseWriter, _ *http.Request) error {
	if err := c.cfg.Registry.Degraded(); err != nil {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "degraded")
	}
	return httpserver.JSON(w, struct{}{})
}

// Resolve returns the caller's own agent: of his user, and of his session where he has several. It reads the published
// view, then asks the kernel whether the agent's port is still the user's.
func (c *Coordinator) Resolve(caller peer.Caller) (agent cardbroker.Agent, err error) {
	if c.cfg.LookedUp != nil {
		defer func() { c.cfg.LookedUp(err) }()
	}
	agents := c.cfg.Registry.View().ByUser(caller.User)
	agent, err = c.chooser.Pick(c.candidates(agents), caller)
	if err != nil {
		return agent, err
	}
	if agent.State != cardbroker.Registered {
		return agent, cardbroker.Errorf(cardbroker.AgentRestarting, "your agent is starting")
	}
	return agent, c.CheckPort(agent.Port, agent.Key.User, false)
}

// candidates adds to agents what they say of their sessions.
func (c *Coordinator) candidates(agents []cardbroker.Agent) []nearest.Candidate {
	candidates := make([]nearest.Candidate, len(agents))
	for i, agent := range agents {
		candidates[i].Agent = agent
	}
	if len(agents) < 2 {
		return candidates
	}
	for _, link := range c.Hub.View() {
		for i, agent := range agents {
			if link.Agent.Route == agent.Route {
				candidates[i].Display = link.Presence.Display
			}
		}
	}
	return candidates
}
