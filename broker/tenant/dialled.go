// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"context"
	"net/http"

	"github.com/cardbroker/cardbroker"
)

// Dialled is the [Authority] of connections that the host has made itself, to a rendezvous whose tenant the configuration
// names. That TLS has verified the rendezvous is what says who it is: nothing that comes over the connection does.
type Dialled struct {
	Tenant cardbroker.Tenant
	URL    string // of the rendezvous
}

// Authenticate returns the tenant, whoever a request says that it is from.
func (d Dialled) Authenticate(*http.Request) (Credential, error) {
	return Credential{Tenant: d.Tenant, Method: ByRendezvous, ID: d.URL}, nil
}

// Burn uses up nothing: a rendezvous may open any number of tunnels.
func (Dialled) Burn(context.Context, Credential) error { return nil }
