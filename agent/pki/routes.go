// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"net/http"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// How long requests may take: those in which a token works, and those in which its user may be asked for a PIN.
const (
	workLimit  = 30 * time.Second
	entryLimit = 65 * time.Second
)

// Routes are what pages and programs of the session ask.
func (p *PKI) Routes() []httpserver.Route {
	return []httpserver.Route{
		{Method: "GET", Path: "/atrs", Access: httpserver.Self, Handle: p.atrs},
		{Method: "GET", Path: "/cb/v1/modules", Access: httpserver.Self, Handle: p.listModules, Limit: workLimit},
		{Method: "GET", Path: "/cb/v1/modules/{module}/slots", Access: httpserver.Self, Handle: p.used(p.listSlots), Limit: workLimit},
		{Method: "GET", Path: "/cb/v1/modules/{module}/slots/{id}/token", Access: httpserver.Self, Handle: p.used(p.slotToken), Limit: workLimit},
		{Method: "GET", Path: "/ds/transactions", Access: httpserver.Self, Handle: unserved},
		{Method: "GET", Path: "/logs/push", Access: httpserver.Self, Handle: unserved},
		{Method: "GET", Path: "/v3/modules/{module}/apps/token/config", Access: httpserver.Self, Handle: configure},
		{Method: "POST", Path: "/v3/modules/{module}/apps/token/config", Access: httpserver.Self, Handle: configure},
		{Method: "PATCH", Path: "/v3/modules/{module}/apps/token/config/reset", Access: httpserver.Self, Handle: configure},
		{Method: "POST", Path: "/v3/modules/{module}/apps/token/readers/{id}/authenticate", Access: httpserver.Self, Handle: p.used(p.authenticate), Limit: entryLimit},
		{Method: "GET", Path: "/v3/modules/{module}/apps/token/readers/{id}/cert-list", Access: httpserver.Self, Handle: p.used(p.listCertificates), Limit: workLimit},
		{Method: "POST", Path: "/v3/modules/{module}/apps/token/readers/{id}/change-pin", Access: httpserver.Self, Handle: p.used(p.changePIN), Limit: entryLimit},
		{Method: "GET", Path: "/v3/modules/{module}/apps/token/readers/{id}/info", Access: httpserver.Self, Handle: p.used(p.info), Limit: workLimit},
		{Method: "POST", Path: "/v3/modules/{module}/apps/token/readers/{id}/reset-pin", Access: httpserver.Self, Handle: p.used(p.resetPIN), Limit: entryLimit},
		{Method: "POST", Path: "/v3/modules/{module}/apps/token/readers/{id}/sign", Access: httpserver.Self, Handle: p.used(p.sign), Limit: entryLimit},
		{Method: "POST", Path: "/v3/modules/{module}/apps/token/readers/{id}/sign_raw", Access: httpserver.Self, Handle: p.used(p.sign), Limit: entryLimit},
		{Method: "GET", Path: "/v3/modules/{module}/apps/token/readers/{id}/supported-algorithms", Access: httpserver.Self, Handle: p.used(p.algorithms), Limit: workLimit},
		{Method: "POST", Path: "/v3/modules/{module}/apps/token/readers/{id}/validate", Access: httpserver.Self, Handle: p.used(p.validate), Limit: workLimit},
		{Method: "POST", Path: "/v3/modules/{module}/apps/token/readers/{id}/verify-pin", Access: httpserver.Self, Handle: p.used(p.verifyPIN), Limit: entryLimit},
		{Method: "GET", Path: "/v3/modules/{module}/apps/token/readers/{id}/{kind}", Access: httpserver.Self, Handle: p.used(p.certificatesOf), Limit: workLimit},
		{Method: "GET", Path: "/v3/modules/{module}/apps/token/reset-bulk-pin", Access: httpserver.Self, Handle: p.resetBulkPIN},
		{Method: "POST", Path: "/v3/modules/{module}/apps/token/reset-bulk-pin", Access: httpserver.Self, Handle: p.resetBulkPIN},
		{Method: "GET", Path: "/v3/modules/{module}/{rest...}", Access: httpserver.Self, Handle: unserved},
		{Method: "PATCH", Path: "/v3/modules/{module}/{rest...}", Access: httpserver.Self, Handle: unserved},
		{Method: "POST", Path: "/v3/modules/{module}/{rest...}", Access: httpserver.Self, Handle: unserved},
	}
}

// used is the handler of a call that uses a token, which nobody does while its user is away.
func (p *PKI) used(handle httpserver.Handler) httpserver.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if p.cfg.Away != nil {
			if why := p.cfg.Away(); why != nil {
				return why
			}
		}
		return handle(w, r)
	}
}

// configure answers the calls by which a page would choose the file of a PKCS#11 module.
func configure(http.ResponseWriter, *http.Request) error {
	return cardbroker.Errorf(cardbroker.Forbidden, "modules are configured by machine policy; a web page neither sees nor chooses their files")
}

// unserved answers a call of existing clients that is not served here; docs/clients.md lists them.
func unserved(_ http.ResponseWriter, r *http.Request) error {
	return cardbroker.Errorf(cardbroker.Unsupported, "%s; docs/clients.md lists what is served", whyUnserved(r))
}

func whyUnserved(r *http.Request) string {
	switch r.URL.Path {
	case "/logs/push":
		return "logs of the agent are not sent anywhere"
	case "/ds/transactions":
		return "there is no distribution service, and no transactions of one"
	}
	switch name := r.PathValue("module"); name {
	case "fileexchange":
		return "file exchange is not served: web pages read and write no files"
	case "rawprint":
		return "printing is not served"
	case "vdds":
		return "VDDS is not served: web pages start no programs"
	case "truststore":
		return "the certificate store of the system is not served"
	case "simplesign":
		return "simplesign is not served"
	case "wacom-stu":
		return "signature pads are not served"
	case "x509", "remoteloading":
		return "this module has no such call"
	}
	if strings.HasPrefix(r.PathValue("rest"), "apps/payment/") {
		return "payment cards are not served"
	}
	return "this call of the module is not served: calls of a token name its reader"
}
