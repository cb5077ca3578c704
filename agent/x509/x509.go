// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package x509 serves the helpers for certificates below /v3/modules/x509: a page gives a certificate and is told what is in it.
// No card is asked, nothing is verified and nothing is kept.
package x509

import (
	"net/http"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/certs"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// Helpers are the helpers. They have no state.
type Helpers struct{}

// Routes are the helpers' routes.
func (Helpers) Routes() []httpserver.Route {
	return []httpserver.Route{
		{Method: "POST", Path: "/v3/modules/x509/issuer-cn", Access: httpserver.Self, Handle: tell(func(c certs.Certificate) any { return c.Issuer.CN() })},
		{Method: "POST", Path: "/v3/modules/x509/json", Access: httpserver.Self, Handle: tell(func(c certs.Certificate) any { return c.Describe(time.Now()) })},
		{Method: "POST", Path: "/v3/modules/x509/pem", Access: httpserver.Self, Handle: tell(func(c certs.Certificate) any { return c.PEM() })},
		{Method: "POST", Path: "/v3/modules/x509/subject-cn", Access: httpserver.Self, Handle: tell(func(c certs.Certificate) any { return c.Subject.CN() })},
	}
}

// tell returns the handler that answers one question about the certificate of a request.
func tell(what func(certs.Certificate) any) httpserver.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var asked api.X509Request
		if err := httpserver.Decode(r, &asked); err != nil {
			return err
		}
		if asked.Cert == "" {
			return cardbroker.Errorf(cardbroker.Invalid, "cert: it is missing")
		}
		c, err := certs.Parse(asked.Cert)
		if err != nil {
			return err
		}
		return httpserver.Data(w, what(c))
	}
}
