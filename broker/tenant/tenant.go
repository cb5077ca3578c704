// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package tenant says which tenant a back end at the door is: by a token from a file, a client certificate or a JWT, and
// the address that it comes from; or at a rendezvous that the host calls. It keeps which JWTs have opened a tunnel; that outlives the broker. It grants nothing by
// itself: a tunnel takes an agent's ticket, too.
package tenant

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/jose"
)

// Method says how a back end has shown who it is.
type Method string

// The methods.
const (
	ByToken       Method = "token"
	ByCertificate Method = "certificate"
	ByJWT         Method = "jwt"
	ByRendezvous  Method = "rendezvous" // the host has called it
)

// Credential is who a back end is, and what says so.
type Credential struct {
	Tenant  cardbroker.Tenant
	Method  Method
	ID      string    // ByCertificate: SHA-256 of the certificate, 64 hexadecimal digits; ByJWT: its jti; ByRendezvous: its URL; ByToken: empty
	Expires time.Time // zero: never

	use use // what Burn uses up; its until is zero where there is nothing
}

// Config says who may come. Everything but Log is optional.
type Config struct {
	Tokens    Tokens
	Tenants   map[cardbroker.Tenant]Tenant
	Issuers   []Issuer
	Shelf     Shelf // keeps the JWTs that were used up; required with an Issuer whose tokens are
	Log       *slog.Logger
	Addresses map[cardbroker.Tenant][]netip.Prefix // that a tenant's back ends come from; none: from anywhere
}

// Tenant is how one tenant's back ends show who they are by certificates.
type Tenant struct {
	Certificates []Certificate
}

// Issuer is somebody whose JWTs are believed. Of two, at least one of issuer, subject and audience differs.
type Issuer struct {
	jose.Verifier // without a Subject: of any
	Keys          Keys
	Tenant        func(jose.Claims) (cardbroker.Tenant, bool) // whose token it is, if anybody's
	Bearer        bool                                        // a token opens any number of tunnels; false: one
}

// Keys gives an issuer's public keys. kid is what is looked for: who caches looks for newer ones if it has none of that name.
type Keys interface {
	Keys(ctx context.Context, kid string) (jose.KeySet, error)
}

// Authority knows the tenants. Make it with [New].
type Authority struct {
	cfg    Config
	pinned map[[32]byte]cardbroker.Tenant // by the certificate's SHA-256
	named  map[string][]namedCertificate  // by name
	issuer map[claimant][]Issuer
	used   *uses
}

// claimant is who a token says to be from and about. By it a token of one tenant among thousands costs one signature check.
type claimant struct{ issuer, subject string }

// New returns an authority that has not started: it knows which JWTs were used up already. Errors: Invalid, Internal.
func New(ctx context.Context, cfg Config) (*Authority, error) {
	a := &Authority{
		cfg:    cfg,
		pinned: make(map[[32]byte]cardbroker.Tenant),
		named:  make(map[string][]namedCertificate),
		issuer: make(map[claimant][]Issuer),
	}
	for name, t := range cfg.Tenants {
		if err := a.learn(name, t.Certificates); err != nil {
			return nil, err
		}
	}
	for _, i := range cfg.Issuers {
		about := claimant{issuer: i.Issuer, subject: i.Subject}
		for _, other := range a.issuer[about] {
			if other.Audience == i.Audience {
				return nil, cardbroker.Errorf(cardbroker.Invalid, "tokens of %s about %q for %q are believed twice", i.Issuer, i.Subject, i.Audience)
			}
		}
		a.issuer[about] = append(a.issuer[about], i)
	}
	var err error
	a.used, err = newUses(ctx, cfg.Shelf)
	return a, err
}

// Run owns what is kept of used JWTs until ctx ends.
func (a *Authority) Run(ctx context.Context) error { return a.used.loop.Run(ctx, a.used) }

// Authenticate says who sent a request to the door. Whatever is wrong looks alike to him, so that he does not learn which
// tenants there are; but a genuine credential that is not valid now, by our clock, says so (RuleTokenTime). Errors: Unauthenticated, with the
// cause for the log.
func (a *Authority) Authenticate(r *http.Request) (Credential, error) {
	c, err := a.credential(r)
	if err == nil && !a.ComesFrom(c.Tenant, r.RemoteAddr) {
		err = errors.New("the tenant's back ends do not come from this address")
	}
	switch {
	case err == nil:
		return c, nil
	case cardbroker.RuleOf(err) == cardbroker.RuleTokenTime:
		return Credential{}, err
	}
	return Credential{}, &cardbroker.Error{Reason: cardbroker.Unauthenticated, Rule: cardbroker.RuleToken,
		Message: "the token is missing or unknown", Err: err}
}

// credential looks at the token, or where there is none at the certificate.
func (a *Authority) credential(r *http.Request) (Credential, error) {
	header := r.Header.Values("Authorization")
	switch {
	case len(header) > 1:
		return Credential{}, errors.New("there is more than one token")
	case len(header) == 1:
		token, ok := strings.CutPrefix(header[0], "Bearer ")
		if !ok {
			return Credential{}, errors.New("the credential is no bearer token")
		}
		if tenant, known := a.cfg.Tokens.tenant(token); known {
			return Credential{Tenant: tenant, Method: ByToken}, nil
		}
		return a.byJWT(r.Context(), token)
	case r.TLS != nil && len(r.TLS.PeerCertificates) > 0:
		return a.byCertificate(r.TLS.PeerCertificates, time.Now())
	}
	return Credential{}, errors.New("there is no token and no certificate")
}

// byJWT looks for an issuer to whom the token is good.
func (a *Authority) byJWT(ctx context.Context, token string) (Credential, error) {
	says, err := jose.Hint(token)
	if err != nil {
		return Credential{}, err
	}
	about := claimant{issuer: says.Issuer, subject: says.Subject}
	believed := a.issuer[about]
	if about.subject != "" {
		believed = slices.Concat(believed, a.issuer[claimant{issuer: says.Issuer}])
	}
	err = errors.New("the token's issuer or subject is unknown")
	for _, issuer := range believed {
		c, failed := issuer.accept(ctx, token, says.KeyID)
		if failed == nil {
			return c, nil
		}
		if cardbroker.RuleOf(err) != cardbroker.RuleTokenTime { // it says more than that others do not know the token
			err = failed
		}
	}
	return Credential{}, err
}

func (i Issuer) accept(ctx context.Context, token, kid string) (Credential, error) {
	keys, err := i.Keys.Keys(ctx, kid)
	if err != nil {
		return Credential{}, err
	}
	claims, err := i.Verify(token, keys, time.Now())
	if err != nil {
		return Credential{}, err
	}
	tenant, ok := i.Tenant(claims)
	if !ok {
		return Credential{}, errors.New("the token is no tenant's")
	}
	c := Credential{Tenant: tenant, Method: ByJWT, ID: claims.ID, Expires: claims.Expires}
	if !i.Bearer {
		c.use = newUse(claims)
	}
	return c, nil
}

// Burn uses up what may open one tunnel only. It returns when that lasts. Errors: Unauthenticated, it was used before;
// Unavailable, it cannot be kept; Overloaded.
func (a *Authority) Burn(ctx context.Context, c Credential) error {
	if c.use.until.IsZero() {
		return nil
	}
	return a.used.burn(ctx, c.use)
}

// ComesFrom says whether the tenant's back ends may come from an address, as http.Request has it.
func (a *Authority) ComesFrom(tenant cardbroker.Tenant, remote string) bool {
	prefixes := a.cfg.Addresses[tenant]
	if len(prefixes) == 0 {
		return true
	}
	end, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	address := end.Addr().Unmap().WithZone("")
	for _, prefix := range prefixes {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}
