// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

const (
	maxPEM         = 4096 // bytes; one of an RSA key of 2048 bits has 451
	maxJWKs        = 4
	thumbprintSize = 32 // bytes of SHA-256
)

// checkDeviceKey says whether what an agent tells is a device key: pages of its own user are handed it.
func checkDeviceKey(key api.DeviceKey) error {
	wrong := cardbroker.Errorf(cardbroker.Invalid, "this is not a device key")
	if sum, err := base64.RawURLEncoding.Strict().DecodeString(key.Thumbprint); err != nil || len(sum) != thumbprintSize {
		return wrong
	}
	if len(key.PEM) > maxPEM || len(key.Keys) > maxJWKs {
		return wrong
	}
	block, _ := pem.Decode([]byte(key.PEM))
	if block == nil || block.Type != "PUBLIC KEY" || len(block.Headers) > 0 || string(pem.EncodeToMemory(block)) != key.PEM {
		return wrong
	}
	if public, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		return wrong
	} else if _, ok := public.(*rsa.PublicKey); !ok {
		return wrong
	}
	return nil
}

// deviceKey answers with the device key of the caller's own agent: existing clients ask here before they ask there, and keep
// what they hear.
func (c *Coordinator) deviceKey(w http.ResponseWriter, r *http.Request) error {
	agent, err := c.Resolve(httpserver.CallerOf(r.Context()))
	if err != nil {
		return err
	}
	key := c.Hub.keyOf(agent.Route)
	if key.PEM == "" {
		w.Header().Set("Retry-After", "1")
		return cardbroker.Errorf(cardbroker.Unavailable, "your agent is making its device key; try again")
	}
	return httpserver.Data(w, key.PEM)
}
