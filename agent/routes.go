// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/x509"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

// routes are what the session's web pages and programs ask.
func (a *Agent) routes() []httpserver.Route {
	return []httpserver.Route{
		{Method: "GET", Path: "/cb/v1/consents", Access: httpserver.Self, Handle: a.listConsents},
		{Method: "POST", Path: "/cb/v1/consents", Access: httpserver.Own, Handle: a.answerConsent},
		{Method: "POST", Path: "/cb/v1/consents/revoke", Access: httpserver.Self, Handle: a.revokeConsent},
		{Method: "GET", Path: "/cb/v1/device-key", Access: httpserver.Self, Handle: a.deviceKeys},
		{Method: "GET", Path: "/cb/v1/events", Access: httpserver.Self, Handle: a.events, Pushes: true},
		{Method: "GET", Path: "/cb/v1/leases", Access: httpserver.Self, Handle: a.listLeases},
		{Method: "POST", Path: "/cb/v1/leases/{tunnel}/revoke", Access: httpserver.Self, Handle: a.revokeLease},
		{Method: "POST", Path: "/cb/v1/offers", Access: httpserver.Self, Handle: a.offer},
		{Method: "POST", Path: "/cb/v1/pin-challenges", Access: httpserver.Self, Handle: a.pinChallenge},
		{Method: "POST", Path: "/cb/v1/readers/{id}/verify-pin", Access: httpserver.Self, Handle: a.verifyPIN},
		{Method: "GET", Path: "/consent", Access: httpserver.Public, Handle: a.consentPage},
		{Method: "GET", Path: "/consent/{file}", Access: httpserver.Public, Handle: a.consentFile},
		{Method: "GET", Path: "/device-key", Access: httpserver.Public, Handle: a.deviceKey},
		{Method: "GET", Path: "/docs", Access: httpserver.Public, Handle: httpserver.Docs},
		{Method: "GET", Path: "/info", Access: httpserver.Public, Handle: a.info},
		{Method: "GET", Path: "/openapi.yaml", Access: httpserver.Public, Handle: httpserver.OpenAPI},
	}
}

// allRoutes are those of the agent's parts, too.
func (a *Agent) allRoutes() []httpserver.Route {
	return slices.Concat(a.routes(), a.demo.Routes(), a.kept.Routes(), a.pki.Routes(), a.readers.Routes(), a.remote.Routes(), x509.Helpers{}.Routes())
}

// perSecond is Config.PerSecond where that says nothing. It is more than elsewhere, for cards answer so fast, and what is used up is the user's own.
const perSecond = 1000

// serve serves the agent's port, and what the broker forwards, until ctx ends.
func (a *Agent) serve(ctx context.Context, e enrolment) error {
	server := httpserver.New(httpserver.Config{
		Routes:    a.allRoutes(),
		Authorize: a.authorize,
		Consented: a.consents.Consented,
		During:    a.consents.While,
		Page:      a.page,
		Guest:     a.demo.Name,
		Refused:   a.tellRefused,
		PagesOnly: a.cfg.Policy.PagesOnly,
		PerSecond: cmp.Or(a.cfg.PerSecond, perSecond),
		Log:       a.cfg.Log,
	})
	attested := []httpserver.Listener{{Listener: e.forwards, Kind: httpserver.Forwarded{Name: a.hostAlias}}}
	for _, listener := range e.listeners {
		attested = append(attested, httpserver.Listener{Listener: listener, Kind: httpserver.Loopback{Kernel: a.kernel}})
	}
	return server.Serve(ctx, attested...)
}

// authorize admits the agent's own user and nobody else, whatever the route: a port number is worth nothing to another
// user of the host.
func (a *Agent) authorize(r *http.Request, access httpserver.Access) error {
	if httpserver.CallerOf(r.Context()).User != a.self {
		return cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleOtherUser, "this agent serves another user")
	}
	return a.checkPage(r, access)
}

func (a *Agent) info(w http.ResponseWriter, r *http.Request) error {
	port := cardbroker.Port(httpserver.CallerOf(r.Context()).Server.Port())
	mode := api.ModeNone
	var host string
	if registered := a.registration.Load(); registered != nil {
		mode, host, port = cmp.Or(registered.Mode, api.ModeService), registered.Host, registered.Port // the page may have come by a fixed port
	}
	return httpserver.JSON(w, api.NewInfo(host,
		api.InfoService{URL: httpserver.URL(r), APIPort: port, DeviceType: "AGENT"},
		api.InfoCardbroker{Version: a.cfg.Version, Mode: mode}))
}

// listLeases lists which back ends hold which readers of the session.
func (a *Agent) listLeases(w http.ResponseWriter, _ *http.Request) error {
	return httpserver.JSON(w, api.Leases{Leases: a.leaseRows()})
}

func (a *Agent) leaseRows() []api.Lease {
	rows := []api.Lease{}
	for _, l := range a.leases.List() {
		rows = append(rows, api.Lease{
			Tunnel:  l.Tunnel.String(),
			Tenant:  l.Tenant,
			Reader:  l.Reader,
			Method:  l.Method,
			Backend: l.Backend,
			Session: a.cfg.Session,
			Since:   l.Since.UTC(),
			Expires: l.Expires.UTC(),
			Share:   l.Share.String(),
			Cut:     cutAt(l),
		})
	}
	return rows
}

// revokeLease ends a back end's use of a reader at once.
func (a *Agent) revokeLease(w http.ResponseWriter, r *http.Request) error {
	id, err := cardend.ParseTunnelID(r.PathValue("tunnel"))
	if err != nil {
		return err
	}
	if err := a.endLease(r.Context(), id, userEnds, cardbroker.Event{Origin: originOf(r)}); err != nil {
		return err
	}
	return httpserver.JSON(w, struct{}{})
}
