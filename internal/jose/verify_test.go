// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	library "github.com/go-jose/go-jose/v4"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/jose"
)

// now is when the tests take place.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// issuer has two keys, and what is needed to sign by hand whatever an attacker would.
type issuer struct {
	ec  *ecdsa.PrivateKey
	rsa *rsa.PrivateKey
}

func newIssuer(t testing.TB) issuer {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return issuer{ec: ec, rsa: r}
}

// set is the issuer's published key set.
func (i issuer) set(t testing.TB) jose.KeySet {
	t.Helper()
	set, err := jose.ParseKeySet(i.jwks(t))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (i issuer) jwks(t testing.TB) []byte {
	t.Helper()
	text, err := json.Marshal(library.JSONWebKeySet{Keys: []library.JSONWebKey{
		{Key: i.ec.Public(), KeyID: "ec", Use: "sig"}, {Key: i.rsa.Public(), KeyID: "rsa", Algorithm: "RS256"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func encode(v any) string {
	text, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(text)
}

// sign makes a compact token with any header and claims, signed as its alg says.
func (i issuer) sign(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	input := encode(header) + "." + encode(claims)
	digest := sha256.Sum256([]byte(input))
	var signature []byte
	var err error
	switch header["alg"] {
	case "ES256":
		r, s, failed := ecdsa.Sign(rand.Reader, i.ec, digest[:])
		err = failed
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case "RS256":
		signature, err = rsa.SignPKCS1v15(rand.Reader, i.rsa, crypto.SHA256, digest[:])
	case "PS256":
		signature, err = rsa.SignPSS(rand.Reader, i.rsa, crypto.SHA256, digest[:], nil)
	case "HS256": // with the text of the public key as the secret
		der, failed := x509.MarshalPKIXPublicKey(i.rsa.Public())
		err = failed
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		mac.Write([]byte(input))
		signature = mac.Sum(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func goodClaims() map[string]any {
	return map[string]any{"iss": "https://idp", "aud": []string{"other", "door"}, "sub": "acme", "jti": "1",
		"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(4 * time.Minute).Unix()}
}

// with returns m with some values replaced; nil takes one out.
func with(m map[string]any, changes ...any) map[string]any {
	m = maps.Clone(m)
	for i := 0; i < len(changes); i += 2 {
		if m[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
			delete(m, changes[i].(string))
		}
	}
	return m
}

// naive verifies as programs do that believe what a token says of itself: its algorithm, its key.
func naive(token string, i issuer) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	raw, _ := base64.RawURLEncoding.DecodeString(parts[0])
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	var header struct {
		Alg string              `json:"alg"`
		Kid string              `json:"kid"`
		JWK *library.JSONWebKey `json:"jwk"`
	}
	json.Unmarshal(raw, &header)
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	public := i.ec.Public().(*ecdsa.PublicKey)
	if header.JWK != nil {
		public = header.JWK.Key.(*ecdsa.PublicKey)
	}
	switch header.Alg {
	case "none":
		return true
	case "HS256":
		der, _ := x509.MarshalPKIXPublicKey(i.rsa.Public())
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		mac.Write([]byte(parts[0] + "." + parts[1]))
		return hmac.Equal(mac.Sum(nil), signature)
	case "RS256":
		return rsa.VerifyPKCS1v15(i.rsa.Public().(*rsa.PublicKey), crypto.SHA256, digest[:], signature) == nil
	case "PS256":
		return rsa.VerifyPSS(i.rsa.Public().(*rsa.PublicKey), crypto.SHA256, digest[:], signature, nil) == nil
	case "ES256":
		return len(signature) == 64 && ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	return false
}

// TestForgedTokens plays what fools a verifier that believes the token's header, or checks the signature alone.
func TestForgedTokens(t *testing.T) {
	i, mallory := newIssuer(t), newIssuer(t)
	v := jose.Verifier{Algorithms: []string{"ES256", "RS256"}, Issuer: "https://idp", Audience: "door", Subject: "acme"}
	ec, good := map[string]any{"alg": "ES256", "kid": "ec", "typ": "JWT"}, goodClaims()
	malloryKey := library.JSONWebKey{Key: mallory.ec.Public(), KeyID: "ec"}
	for _, test := range []struct{ name, token string }{
		{"alg none", encode(with(ec, "alg", "none")) + "." + encode(good) + "."},
		{"HS256 by the public key", i.sign(t, map[string]any{"alg": "HS256", "kid": "rsa"}, good)},
		{"an embedded key", mallory.sign(t, with(ec, "jwk", malloryKey), good)},
		{"an algorithm that the tenant does not use", i.sign(t, map[string]any{"alg": "PS256", "kid": "rsa"}, good)},
		{"a critical extension", i.sign(t, with(ec, "crit", []string{"exp2"}, "exp2", 1), good)},
		{"an unencoded payload", i.sign(t, with(ec, "crit", []string{"b64"}, "b64", true), good)},
		{"an unknown key's name", i.sign(t, with(ec, "kid", "other"), good)},
		{"no key's name", i.sign(t, with(ec, "kid", nil), good)},
		{"another issuer's", i.sign(t, ec, with(good, "iss", "https://idp/"))},
		{"another audience's", i.sign(t, ec, with(good, "aud", "doo"))},
		{"another tenant's", i.sign(t, ec, with(good, "sub", "acme "))},
		{"no end", i.sign(t, ec, with(good, "exp", nil))},
		{"no beginning", i.sign(t, ec, with(good, "iat", nil))},
		{"no id", i.sign(t, ec, with(good, "jti", nil))},
		{"a long id", i.sign(t, ec, with(good, "jti", strings.Repeat("x", 300)))},
		{"for a year", i.sign(t, ec, with(good, "exp", now.AddDate(1, 0, 0).Unix()))},
		{"an end before its beginning", i.sign(t, ec, with(good, "exp", now.Add(-2*time.Minute).Unix()))},
		{"expired", i.sign(t, ec, with(good, "iat", now.Add(-time.Hour).Unix(), "exp", now.Add(-time.Minute).Unix()))},
		{"not yet", i.sign(t, ec, with(good, "iat", now.Add(2*time.Minute).Unix()))},
		{"not before", i.sign(t, ec, with(good, "nbf", now.Add(2*time.Minute).Unix()))},
	} {
		if !naive(test.token, i) {
			t.Errorf("%s does not fool the naive verifier: no attack", test.name)
		}
		if c, err := v.Verify(test.token, i.set(t), now); cardbroker.ReasonOf(err) != cardbroker.Unauthenticated {
			t.Errorf("%s: Verify = %+v, %v, want unauthenticated", test.name, c, err)
		}
	}
}

func TestVerify(t *testing.T) {
	i := newIssuer(t)
	v := jose.Verifier{Algorithms: jose.Algorithms(), Issuer: "https://idp", Audience: "door", Leeway: time.Hour}
	want := jose.Claims{Issuer: "https://idp", Subject: "acme", ID: "1", IssuedAt: now.Add(-time.Minute), Expires: now.Add(4 * time.Minute)}
	for _, header := range []map[string]any{{"alg": "ES256", "kid": "ec"}, {"alg": "RS256", "kid": "rsa"}} {
		token := i.sign(t, header, goodClaims())
		got, err := v.Verify(token, i.set(t), now)
		got.IssuedAt, got.Expires = got.IssuedAt.UTC(), got.Expires.UTC()
		if err != nil || got != want {
			t.Errorf("%v: Verify = %+v, %v, want %+v", header, got, err, want)
		}
		if issuer, kid, err := jose.Hint(token); issuer != "https://idp" || kid != header["kid"] || err != nil {
			t.Errorf("Hint = %q, %q, %v", issuer, kid, err)
		}
		for at := range token { // no byte of it may be another; the last ones of each part have bits that say nothing
			if token[at] == '.' || at+1 == len(token) || token[at+1] == '.' {
				continue
			}
			other := byte('A')
			if token[at] == other {
				other = 'B'
			}
			if _, err := v.Verify(token[:at]+string(other)+token[at+1:], i.set(t), now); err == nil {
				t.Fatalf("%v: byte %d may be another", header, at)
			}
		}
	}
	if token := i.sign(t, map[string]any{"alg": "PS256", "kid": "rsa"}, goodClaims()); true {
		if _, err := v.Verify(token, i.set(t), now); err == nil {
			t.Error("a key for RS256 verifies PS256")
		}
	}
}

// TestWrongClock: the error says by how much the clocks differ, within the leeway there is none.
func TestWrongClock(t *testing.T) {
	i := newIssuer(t)
	token := i.sign(t, map[string]any{"alg": "ES256", "kid": "ec"}, goodClaims())
	v := jose.Verifier{Algorithms: []string{"ES256"}, Issuer: "https://idp", Audience: "door", Leeway: jose.MaxLeeway}
	for offset, want := range map[time.Duration]string{
		-time.Minute - 30*time.Second:  "",
		-time.Minute - 31*time.Second:  "31s ahead",
		-2*time.Hour - 4*time.Minute:   "2h3m0s ahead",
		4*time.Minute + 30*time.Second: "",
		4*time.Minute + 31*time.Second: "31s ago",
		50 * 365 * 24 * time.Hour:      "437999h56m0s ago",
		-56 * 365 * 24 * time.Hour:     "h59m0s ahead",
	} {
		_, err := v.Verify(token, i.set(t), now.Add(offset))
		switch {
		case want == "" && err != nil:
			t.Errorf("%v: %v", offset, err)
		case want != "" && (cardbroker.RuleOf(err) != cardbroker.RuleTokenTime || !strings.Contains(fmt.Sprint(err), want)):
			t.Errorf("%v: %v, want rule token_time and %q", offset, err, want)
		}
	}
}

func TestParseKeySet(t *testing.T) {
	i := newIssuer(t)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	set := func(keys ...library.JSONWebKey) string {
		text, err := json.Marshal(library.JSONWebKeySet{Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, text := range map[string]string{
		"nothing": "", "a list": "[]", "none": `{"keys":[]}`, "garbage": `{"keys":[{"kty":"EC","kid":"1","crv":"P-256","x":"AA","y":"AA"}]}`,
		"private":    set(library.JSONWebKey{Key: i.ec, KeyID: "1"}),
		"symmetric":  set(library.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "1"}),
		"short":      set(library.JSONWebKey{Key: short.Public(), KeyID: "1"}),
		"no name":    set(library.JSONWebKey{Key: i.ec.Public()}),
		"two of one": set(library.JSONWebKey{Key: i.ec.Public(), KeyID: "1"}, library.JSONWebKey{Key: i.rsa.Public(), KeyID: "1"}),
		"enc only":   set(library.JSONWebKey{Key: i.ec.Public(), KeyID: "1", Use: "enc"}),
	} {
		if _, err := jose.ParseKeySet([]byte(text)); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("%s: ParseKeySet = %v, want invalid", name, err)
		}
	}
	if parsed := i.set(t); !parsed.Has("ec") || !parsed.Has("rsa") || parsed.Has("") {
		t.Error("the set does not have its own keys, or has others")
	}
}

func FuzzVerify(f *testing.F) {
	i := newIssuer(f)
	set := i.set(f)
	v := jose.Verifier{Algorithms: jose.Algorithms(), Issuer: "https://idp", Audience: "door"}
	good := i.sign(f, map[string]any{"alg": "ES256", "kid": "ec"}, goodClaims())
	for _, seed := range []string{good, "", "..", "e30.e30.", encode(map[string]any{"alg": "none"}) + ".e30."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		jose.Hint(token)
		if _, err := v.Verify(token, set, now); err == nil && token != good {
			t.Errorf("%q is good", token)
		} else if err != nil && len(token) > 20 && strings.Contains(err.Error(), token) {
			t.Errorf("the error repeats the token: %v", err)
		}
	})
}

func FuzzParseKeySet(f *testing.F) {
	f.Add(newIssuer(f).jwks(f))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) { jose.ParseKeySet(text) })
}

func BenchmarkVerify(b *testing.B) {
	i := newIssuer(b)
	set := i.set(b)
	v := jose.Verifier{Algorithms: jose.Algorithms(), Issuer: "https://idp", Audience: "door"}
	for alg, kid := range map[string]string{"ES256": "ec", "RS256": "rsa"} {
		token := i.sign(b, map[string]any{"alg": alg, "kid": kid}, goodClaims())
		b.Run(alg, func(b *testing.B) {
			for b.Loop() {
				if _, err := v.Verify(token, set, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
