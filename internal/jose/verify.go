// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cardbroker/cardbroker"
)

// Limits of tokens.
const (
	MaxToken  = 16 << 10         // bytes
	MaxLeeway = 30 * time.Second // that clocks may differ by
	maxID     = 256              // bytes of a jti
)

// Algorithms returns the signature algorithms that a [Verifier] may be told to accept (RFC 7518 §3.1, RFC 8037).
func Algorithms() []string { return []string{"ES256", "ES384", "EdDSA", "RS256", "PS256"} }

// Verifier says which tokens are good. All fields but Subject, Leeway and MaxLife are required.
type Verifier struct {
	Algorithms []string // some of the ones of [Algorithms]
	Issuer     string   // iss, exactly
	Audience   string   // one of aud, exactly
	Subject    string   // sub, exactly; empty: any
	Leeway     time.Duration
	MaxLife    time.Duration // from iat to exp; 0: an hour
}

// defaultMaxLife is the longest life of a token where nothing else is said.
const defaultMaxLife = time.Hour

// Claims are what a good token says (RFC 7519 §4.1).
type Claims struct {
	Issuer, Subject, ID string
	IssuedAt, Expires   time.Time
	Origin              string // azp or origin: the web page that the token was made for; empty: none is named
}

// claims is the token's payload; a claim that is not here is ignored.
type claims struct {
	jwt.Claims
	AuthorizedParty string `json:"azp"`
	Origin          string `json:"origin"`
}

// Hint returns who says to have issued a compact token, and by which key. Nothing of it is verified: it only chooses what the
// token is verified by. Errors: Unauthenticated.
func Hint(token string) (issuer, kid string, err error) {
	parsed, err := parse(token, Algorithms())
	if err != nil {
		return "", "", err
	}
	var c jwt.Claims
	if parsed.UnsafeClaimsWithoutVerification(&c) != nil {
		return "", "", refuse("the token's claims cannot be read")
	}
	return c.Issuer, parsed.Headers[0].KeyID, nil
}

// Verify returns the claims of a compact token (RFC 7515 §7.1) if it is signed by a key of the set and good at now. Keys that the
// token itself names are never looked at. Errors: Unauthenticated; with RuleTokenTime where the token is genuine but
// not valid at this time by this host's clock, and then the message says by how much.
func (v Verifier) Verify(token string, keys KeySet, now time.Time) (Claims, error) {
	parsed, err := parse(token, v.Algorithms)
	if err != nil {
		return Claims{}, err
	}
	header := parsed.Headers[0]
	key, known := keys.key(header.KeyID)
	switch {
	case !known:
		return Claims{}, refuse("the token is signed by an unknown key")
	case !fits(header.Algorithm, key):
		return Claims{}, refuse("the token's algorithm is not its key's")
	}
	var c claims
	if parsed.Claims(key.Key, &c) != nil {
		return Claims{}, refuse("the token's signature is wrong")
	}
	return v.judge(c, now)
}

// judge checks the claims of a token that is genuine.
func (v Verifier) judge(c claims, now time.Time) (Claims, error) {
	switch {
	case c.Issuer != v.Issuer:
		return Claims{}, refuse("the token is another issuer's")
	case !slices.Contains(c.Audience, v.Audience):
		return Claims{}, refuse("the token is for somebody else")
	case v.Subject != "" && c.Subject != v.Subject:
		return Claims{}, refuse("the token is about somebody else")
	case c.ID == "" || len(c.ID) > maxID:
		return Claims{}, refuse("the token has no jti, or one that is too long")
	case c.Expiry == nil || c.IssuedAt == nil:
		return Claims{}, refuse("the token has no exp or no iat")
	}
	issued, expires := c.IssuedAt.Time(), c.Expiry.Time()
	life := v.MaxLife
	if life == 0 {
		life = defaultMaxLife
	}
	if !expires.After(issued) || expires.Sub(issued) > life {
		return Claims{}, refuse("the token lives longer than is accepted")
	}
	if err := v.checkTime(c, now); err != nil {
		return Claims{}, err
	}
	origin := c.Origin
	if origin == "" {
		origin = c.AuthorizedParty
	}
	return Claims{Issuer: c.Issuer, Subject: c.Subject, ID: c.ID, IssuedAt: issued, Expires: expires, Origin: origin}, nil
}

// checkTime compares the token's times with our clock.
func (v Verifier) checkTime(c claims, now time.Time) error {
	leeway := min(v.Leeway, MaxLeeway)
	begins := c.IssuedAt.Time()
	if c.NotBefore != nil && c.NotBefore.Time().After(begins) {
		begins = c.NotBefore.Time()
	}
	clock := now.UTC().Format(time.RFC3339)
	if early := begins.Sub(now); early > leeway {
		return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTokenTime,
			"the token is valid from %s, which is %v ahead of this host's clock (%s): set the clocks right",
			begins.UTC().Format(time.RFC3339), early.Round(time.Second), clock)
	}
	if late := now.Sub(c.Expiry.Time()); late > leeway {
		return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTokenTime,
			"the token was valid until %s, %v ago by this host's clock (%s): get a new one, or set the clocks right",
			c.Expiry.Time().UTC().Format(time.RFC3339), late.Round(time.Second), clock)
	}
	return nil
}

// parse reads a compact token with one signature of one of the algorithms, and no extension that must be understood.
func parse(token string, algorithms []string) (*jwt.JSONWebToken, error) {
	if len(token) > MaxToken {
		return nil, refuse("the token is too long")
	}
	allowed := make([]jose.SignatureAlgorithm, 0, len(algorithms))
	for _, name := range algorithms {
		if slices.Contains(Algorithms(), name) {
			allowed = append(allowed, jose.SignatureAlgorithm(name))
		}
	}
	parsed, err := jwt.ParseSigned(token, allowed)
	if err != nil || len(parsed.Headers) != 1 {
		return nil, refuse("the token is malformed, or its algorithm is not accepted")
	}
	if _, critical := parsed.Headers[0].ExtraHeaders["crit"]; critical {
		return nil, refuse("the token has an extension that is not understood")
	}
	return parsed, nil
}

// fits says whether a key is of the algorithm's kind, and of no other algorithm by its own word.
func fits(algorithm string, key jose.JSONWebKey) bool {
	if key.Algorithm != "" && key.Algorithm != algorithm {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return algorithm == "RS256" || algorithm == "PS256"
	case *ecdsa.PublicKey:
		return algorithm == map[int]string{256: "ES256", 384: "ES384"}[public.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

func refuse(text string) error {
	return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleToken, "%s", text)
}
