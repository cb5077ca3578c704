// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/issuer"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// keyRefused is the refusal of an API key, to be told from those of tenants' tokens in the audit log.
type keyRefused struct{ error }

// Unwrap returns the refusal.
func (e keyRefused) Unwrap() error { return e.error }

// exchange gives a back end a token for its API key.
func (b *Broker) exchange(w http.ResponseWriter, r *http.Request) error {
	key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if len(r.Header.Values("Authorization")) > 1 {
		key = ""
	}
	token, err := b.cfg.Backend.Issuer.Exchange(cardbroker.NewSecret([]byte(key)), func(tenant cardbroker.Tenant) bool {
		return b.cfg.Backend.Tenants.ComesFrom(tenant, r.RemoteAddr)
	})
	if err != nil {
		return keyRefused{err}
	}
	b.record(nil, cardbroker.Event{Name: cardbroker.EventTokenIssued, Tenant: token.Key.Tenant, Method: "api_key", Address: r.RemoteAddr, Detail: token.Key.ID})
	return httpserver.JSON(w, newToken(token))
}

func newToken(t issuer.Token) api.Token {
	return api.Token{Token: string(t.Text.Reveal()), Expires: t.Expires.UTC(), Seconds: int(t.Life / time.Second)}
}

// publishedKeys are what anybody verifies our tokens by.
func (b *Broker) publishedKeys(w http.ResponseWriter, _ *http.Request) error {
	text, keep := b.cfg.Backend.Issuer.JWKS()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(keep/time.Second)))
	w.Write(text) // an error is the connection's
	return nil
}

// issuing returns who issues tokens, for an administrator's request, which it reads into body.
func (b *Broker) issuing(r *http.Request, body any) (*issuer.Issuer, error) {
	if b.cfg.Backend == nil {
		return nil, cardbroker.Errorf(cardbroker.Unavailable, "this host has no door for back ends, so there are no tokens for it; give it one: backend: in host.yaml")
	}
	if body == nil {
		return b.cfg.Backend.Issuer, nil
	}
	return b.cfg.Backend.Issuer, httpserver.Decode(r, body)
}

// administered records what an administrator did.
func (b *Broker) administered(r *http.Request, tenant cardbroker.Tenant, format string, args ...any) {
	by := ", by uid " + httpserver.CallerOf(r.Context()).User.String()
	b.record(nil, cardbroker.Event{Name: cardbroker.EventAdmin, Tenant: tenant, Detail: fmt.Sprintf(format, args...) + by})
}

// apiKeys lists what back ends exchange, and what tokens are signed by.
func (b *Broker) apiKeys(w http.ResponseWriter, r *http.Request) error {
	tokens, err := b.issuing(r, nil)
	if err != nil {
		return err
	}
	answer := api.APIKeys{Keys: []api.APIKey{}}
	for _, key := range tokens.APIKeys() {
		answer.Keys = append(answer.Keys, newAPIKey(key))
	}
	for _, key := range tokens.SigningKeys() {
		answer.Signing = append(answer.Signing, newSigningKey(key))
	}
	return httpserver.JSON(w, answer)
}

func newAPIKey(k issuer.APIKey) api.APIKey {
	return api.APIKey{ID: k.ID, Tenant: k.Tenant, Enrolled: k.Enrolled}
}

func newSigningKey(k issuer.SigningKey) api.SigningKey {
	known := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = t.UTC()
		return &t
	}
	return api.SigningKey{ID: k.ID, From: known(k.From), End: known(k.End)}
}

// enrol makes an API key for a tenant, which the administrator hands to its back end.
func (b *Broker) enrol(w http.ResponseWriter, r *http.Request) error {
	var wish api.Enrol
	tokens, err := b.issuing(r, &wish)
	if err != nil {
		return err
	}
	tenant, err := cardbroker.ParseTenant(wish.Tenant)
	if err != nil {
		return err
	}
	key, secret, err := tokens.Enrol(r.Context(), tenant)
	if err != nil {
		return err
	}
	b.administered(r, tenant, "API key %s enrolled", key.ID)
	return httpserver.JSON(w, api.NewAPIKey{APIKey: newAPIKey(key), Key: string(secret.Reveal())})
}

// revoke ends API keys, with the tokens that were issued for them.
func (b *Broker) revoke(w http.ResponseWriter, r *http.Request) error {
	var wish api.KeyName
	tokens, err := b.issuing(r, &wish)
	if err != nil {
		return err
	}
	ids, err := tokens.Revoke(r.Context(), wish.Name)
	if err != nil {
		return err
	}
	tenant, _, _ := strings.Cut(ids[0], "/")
	b.administered(r, cardbroker.Tenant(tenant), "API keys revoked: %s", strings.Join(ids, " "))
	return httpserver.JSON(w, api.Revoked{Revoked: ids})
}

// rotate puts another signing key to use.
func (b *Broker) rotate(w http.ResponseWriter, r *http.Request) error {
	var wish api.Rotate
	tokens, err := b.issuing(r, &wish)
	if err != nil {
		return err
	}
	turn, what := tokens.Rotate, "signing key rotated"
	if wish.Discard {
		turn, what = tokens.Discard, "all signing keys discarded"
	}
	key, err := turn(r.Context())
	if err != nil {
		return err
	}
	b.administered(r, "", "%s: %s", what, key.ID)
	return httpserver.JSON(w, newSigningKey(key))
}

// issueToken issues a token to an administrator, as a back end with an API key of the tenant would get it.
func (b *Broker) issueToken(w http.ResponseWriter, r *http.Request) error {
	var wish api.KeyName
	tokens, err := b.issuing(r, &wish)
	if err != nil {
		return err
	}
	token, err := tokens.Issue(wish.Name)
	if err != nil {
		return err
	}
	b.administered(r, token.Key.Tenant, "token issued for API key %s", token.Key.ID)
	return httpserver.JSON(w, newToken(token))
}
