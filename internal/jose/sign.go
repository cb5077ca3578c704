// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cardbroker/cardbroker"
)

// SigningKey signs tokens by ES256 (RFC 7518 §3.4) with a P-256 key that was made here. It may be used by any number of
// goroutines, and printed: it shows its name. The zero SigningKey cannot sign.
type SigningKey struct {
	id      string
	private func() *ecdsa.PrivateKey // a function, because fmt looks into unexported fields
	signer  func() jose.Signer
}

// NewSigningKey makes a key.
func NewSigningKey() (SigningKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return SigningKey{}, fmt.Errorf("cannot make a signing key: %w", err)
	}
	return newSigningKey(key)
}

// ParseSigningKey reads what [SigningKey.Private] returned. Errors: Invalid, without a word of the content.
func ParseSigningKey(private cardbroker.Secret) (SigningKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(private.Reveal())
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return SigningKey{}, cardbroker.Errorf(cardbroker.Invalid, "a signing key is not a P-256 key in PKCS #8")
	}
	return newSigningKey(key)
}

func newSigningKey(key *ecdsa.PrivateKey) (SigningKey, error) {
	thumbprint, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return SigningKey{}, fmt.Errorf("cannot name a signing key: %w", err)
	}
	id := base64.RawURLEncoding.EncodeToString(thumbprint)
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", id)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	if err != nil {
		return SigningKey{}, fmt.Errorf("cannot use a signing key: %w", err)
	}
	return SigningKey{id: id, private: func() *ecdsa.PrivateKey { return key }, signer: func() jose.Signer { return signer }}, nil
}

// ID returns the key's thumbprint, RFC 7638 by SHA-256: 43 characters of base64url, the kid of its tokens.
func (k SigningKey) ID() string { return k.id }

// Private returns the key itself, PKCS #8 in DER, for the file that it is kept in.
func (k SigningKey) Private() (cardbroker.Secret, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private())
	if err != nil {
		return cardbroker.Secret{}, fmt.Errorf("cannot write down a signing key: %w", err)
	}
	return cardbroker.NewSecret(der), nil
}

// String returns the key's name.
func (k SigningKey) String() string { return k.id }

// Format writes the key's name for every verb.
func (k SigningKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.id) }

// Grant is what a token that is made here says. Times count in whole seconds.
type Grant struct {
	Issuer, Audience, Subject, ID string
	Issued, Expires               time.Time
}

// Sign returns a compact token (RFC 7515 §7.1) that says so, valid from the moment of its issue.
func (k SigningKey) Sign(g Grant) (cardbroker.Secret, error) {
	token, err := jwt.Signed(k.signer()).Claims(jwt.Claims{
		Issuer:    g.Issuer,
		Audience:  jwt.Audience{g.Audience},
		Subject:   g.Subject,
		ID:        g.ID,
		IssuedAt:  jwt.NewNumericDate(g.Issued),
		NotBefore: jwt.NewNumericDate(g.Issued),
		Expiry:    jwt.NewNumericDate(g.Expires),
	}).Serialize()
	if err != nil {
		return cardbroker.Secret{}, fmt.Errorf("cannot sign a token: %w", err)
	}
	return cardbroker.NewSecret([]byte(token)), nil
}

// PublishKeys returns the public halves as a JWK set (RFC 7517 §5), for [ParseKeySet] and for everybody.
func PublishKeys(keys []SigningKey) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, len(keys))}
	for i, key := range keys {
		set.Keys[i] = jose.JSONWebKey{Key: key.private().Public(), KeyID: key.id, Algorithm: string(jose.ES256), Use: "sig"}
	}
	return json.Marshal(set)
}
