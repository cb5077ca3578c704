// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"net/http"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/nearest"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// loopbackRoutes are what web pages and local programs ask on the well-known port.
func (b *Broker) loopbackRoutes() []httpserver.Route {
	return []httpserver.Route{
		{Method: "GET", Path: "/cb/v1/agent", Access: httpserver.Public, Handle: b.ownAgent},
		{Method: "GET", Path: "/device-key", Access: httpserver.Public, Handle: b.deviceKey},
		{Method: "GET", Path: "/docs", Access: httpserver.Public, Handle: httpserver.Docs},
		{Method: "GET", Path: "/healthz", Access: httpserver.Public, Handle: b.health},
		{Method: "GET", Path: "/info", Access: httpserver.Public, Handle: b.info},
		{Method: "GET", Path: "/openapi.yaml", Access: httpserver.Public, Handle: httpserver.OpenAPI},
		{Method: "GET", Path: "/v3/agents", Access: httpserver.Public, Handle: b.t1cAgents},
		{Method: "POST", Path: "/v3/consent", Access: httpserver.Public, Handle: b.consent, Limit: consentLimit},
		{Method: "POST", Path: "/v3/validate", Access: httpserver.Public, Handle: b.validate},
	}
}

// authorizeLoopback admits every caller that the kernel can name: what he gets is about his own agent.
func (b *Broker) authorizeLoopback(_ *http.Request, access httpserver.Access) error {
	if access == httpserver.Public || access == httpserver.Self {
		return nil
	}
	return cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleNotAdmin, "not on this port")
}

func (b *Broker) info(w http.ResponseWriter, r *http.Request) error {
	server := httpserver.CallerOf(r.Context()).Server
	return httpserver.JSON(w, api.NewInfo(b.cfg.HostName,
		api.InfoService{URL: httpserver.URL(r), APIPort: cardbroker.Port(server.Port()), DeviceType: "PROXY"},
		api.InfoCardbroker{Version: b.cfg.Version, Mode: "service"}))
}

// ownAgent tells of the caller's own agent. Its thumbprint lets a page see that the key which it gets at the agent's port is that
// agent's. A page needs the user's consent.
func (b *Broker) ownAgent(w http.ResponseWriter, r *http.Request) error {
	agent, err := b.resolve(httpserver.CallerOf(r.Context()))
	if err != nil {
		return err
	}
	if _, err := b.consentDays(r, agent); err != nil {
		return err
	}
	return httpserver.JSON(w, api.OwnAgent{
		Port:                agent.Port,
		Session:             agent.Key.Session,
		State:               agent.State,
		DeviceKeyThumbprint: b.hub.keyOf(agent.Route).Thumbprint,
	})
}

// health answers 200, or 503 while nothing can be written. It says nothing else.
func (b *Broker) health(w http.ResponseWriter, _ *http.Request) error {
	if err := b.registry.Degraded(); err != nil {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "degraded")
	}
	return httpserver.JSON(w, struct{}{})
}

// resolve returns the caller's own agent: of his user, and of his session where he has several. It reads the published
// view, then asks the kernel whether the agent's port is still the user's.
func (b *Broker) resolve(caller peer.Caller) (agent cardbroker.Agent, err error) {
	defer func() { b.metrics.LookedUp(err) }()
	agents := b.registry.View().ByUser(caller.User)
	agent, err = b.chooser.Pick(b.candidates(agents), caller)
	if err != nil {
		return agent, err
	}
	if agent.State != cardbroker.Registered {
		return agent, cardbroker.Errorf(cardbroker.AgentRestarting, "your agent is starting")
	}
	return agent, b.checkPort(agent.Port, agent.Key.User, false)
}

// restarting is what the broker answers on the port of an agent that is gone.
func (b *Broker) restarting() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpserver.SetCORS(w.Header(), r)
		if r.Method == http.MethodOptions { // else the page could not read why its request fails
			httpserver.Preflight(w, "GET, POST, PATCH, DELETE")
			return
		}
		api.WriteError(w, cardbroker.Errorf(cardbroker.AgentRestarting, "the agent of this port is starting"))
	})
}

// candidates adds to agents what they say of their sessions.
func (b *Broker) candidates(agents []cardbroker.Agent) []nearest.Candidate {
	candidates := make([]nearest.Candidate, len(agents))
	for i, agent := range agents {
		candidates[i].Agent = agent
	}
	if len(agents) < 2 {
		return candidates
	}
	for _, link := range *b.hub.view.Load() {
		for i, agent := range agents {
			if link.agent.Route == agent.Route {
				candidates[i].Display = link.presence.Display
			}
		}
	}
	return candidates
}
