// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package issuer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/issuer"
)

// naive is a broker as one would write it from the claims' names: it looks a key up by the kid, does what the token's header
// says, trusts a signature, an exp and a sub, and has API keys in a map.
type naive struct {
	keys map[string]*ecdsa.PublicKey // all that there ever were
	api  map[string]cardbroker.Tenant
}

func (n *naive) exchange(key string) (cardbroker.Tenant, error) {
	if tenant, ok := n.api[key]; ok {
		return tenant, nil
	}
	return "", errors.New("unknown")
}

// learn takes a published set over.
func (n *naive) learn(jwks []byte) {
	var set struct{ Keys []map[string]string }
	json.Unmarshal(jwks, &set)
	for _, key := range set.Keys {
		n.keys[key["kid"]] = public(key)
	}
}

func public(jwk map[string]string) *ecdsa.PublicKey {
	x, _ := base64.RawURLEncoding.DecodeString(jwk["x"])
	y, _ := base64.RawURLEncoding.DecodeString(jwk["y"])
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		panic(err)
	}
	return key
}

func (n *naive) authenticate(token string) (cardbroker.Tenant, error) {
	parts := strings.Split(token, ".")
	var header struct {
		Alg, Kid string
		JWK      map[string]string
	}
	var claims struct {
		Sub string
		Exp int64
	}
	head, _ := base64.RawURLEncoding.DecodeString(parts[0])
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	if err := errors.Join(json.Unmarshal(head, &header), json.Unmarshal(body, &claims)); err != nil {
		return "", err
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	key := n.keys[header.Kid]
	if header.JWK != nil {
		key = public(header.JWK)
	}
	good := false
	switch {
	case header.Alg == "none":
		good = true
	case key == nil:
	case header.Alg == "HS256":
		good = hmac.Equal(signature, mac(key, parts[0]+"."+parts[1]))
	case len(signature) == 64:
		good = ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	if !good || time.Now().Unix() > claims.Exp {
		return "", errors.New("bad token")
	}
	return cardbroker.Tenant(claims.Sub), nil
}

// mac is an HMAC whose secret is what everybody can read.
func mac(key *ecdsa.PublicKey, text string) []byte {
	der, _ := x509.MarshalPKIXPublicKey(key)
	h := hmac.New(sha256.New, der)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// forge makes a token of a header and claims.
func forge(header, claims map[string]any, sign func(text string) []byte) string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(header) + "." + part(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

func es256(key *ecdsa.PrivateKey) func(string) []byte {
	return func(text string) []byte {
		digest := sha256.Sum256([]byte(text))
		r, s, _ := ecdsa.Sign(rand.Reader, key, digest[:])
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

// leaked reads the private key that signs from the file, as a thief of a backup would.
func leaked(t *testing.T, s *site) *ecdsa.PrivateKey {
	t.Helper()
	file, err := os.ReadFile(s.keyFile())
	var rows []struct{ Key []byte }
	if err := errors.Join(err, json.Unmarshal(file, &rows)); err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(rows[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ecdsa.PrivateKey)
}

// thief knows an API key of the tenant shop, which is good in 192.0.2.0/24 only, a token of it, and one of his own tenant, other.
type thief struct {
	t          *testing.T
	s          *site
	naive      *naive
	key        cardbroker.Secret
	token, own string
}

func (f *thief) claims(change map[string]any) map[string]any {
	c := payload(f.t, f.token)
	maps.Copy(c, change)
	return c
}

// TestAttacks: each works against the naive broker, and not against ours. Before each, the token that is not abused is good at both.
func TestAttacks(t *testing.T) {
	const home, elsewhere = "192.0.2.7:40000", "198.51.100.66:40000"
	for _, test := range []struct {
		name string
		// attack returns what is to be tried as a token, from where, and which refusal ours answers with.
		attack func(f *thief) (token string, from string)
		rule   cardbroker.Rule
	}{
		{"a stolen token from elsewhere", func(f *thief) (string, string) { return f.token, elsewhere }, cardbroker.RuleToken},
		{"a token of another tenant, with shop's name in it", func(f *thief) (string, string) {
			named := payload(f.t, f.own)
			named["sub"] = "shop"
			return forge(map[string]any{"alg": "none"}, named, func(string) []byte { return nil }), home
		}, cardbroker.RuleToken},
		{"signed by what is published, as a secret", func(f *thief) (string, string) {
			id := kid(f.t, f.token)
			return forge(map[string]any{"alg": "HS256", "kid": id}, f.claims(nil),
				func(text string) []byte { return mac(f.naive.keys[id], text) }), home
		}, cardbroker.RuleToken},
		{"signed by a key that the token brings", func(f *thief) (string, string) {
			own, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			text := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, 32))) }
			jwk := map[string]string{"kty": "EC", "crv": "P-256", "x": text(own.X), "y": text(own.Y)}
			return forge(map[string]any{"alg": "ES256", "kid": kid(f.t, f.token), "jwk": jwk}, f.claims(nil), es256(own)), home
		}, cardbroker.RuleToken},
		{"of another broker, which has a tenant of the same name and came from the same disk image", func(f *thief) (string, string) {
			key := leaked(f.t, f.s)
			there := map[string]any{"iss": "wss://other.example:8443", "aud": []string{"wss://other.example:8443"}}
			return forge(map[string]any{"alg": "ES256", "kid": kid(f.t, f.token)}, f.claims(there), es256(key)), home
		}, cardbroker.RuleToken},
		{"for another broker, by us", func(f *thief) (string, string) {
			key := leaked(f.t, f.s)
			there := map[string]any{"aud": []string{"wss://other.example:8443"}}
			return forge(map[string]any{"alg": "ES256", "kid": kid(f.t, f.token)}, f.claims(there), es256(key)), home
		}, cardbroker.RuleToken},
		{"for another tenant than its API key's", func(f *thief) (string, string) {
			key := leaked(f.t, f.s)
			return forge(map[string]any{"alg": "ES256", "kid": kid(f.t, f.token)},
				map[string]any{"iss": door, "aud": door, "sub": "shop", "jti": payload(f.t, f.own)["jti"],
					"iat": time.Now().Unix(), "exp": time.Now().Unix() + 300}, es256(key)), home
		}, cardbroker.RuleToken},
		{"without end, by a key that leaked and was replaced since", func(f *thief) (string, string) {
			id, key := kid(f.t, f.token), leaked(f.t, f.s)
			f.s.rotate()
			time.Sleep(17 * time.Minute)
			synctest.Wait()
			now := map[string]any{"iat": time.Now().Unix(), "nbf": time.Now().Unix(), "exp": time.Now().Unix() + 300}
			return forge(map[string]any{"alg": "ES256", "kid": id}, f.claims(now), es256(key)), home
		}, cardbroker.RuleToken},
		{"that lives for a year, by a key that leaked", func(f *thief) (string, string) {
			long := map[string]any{"exp": time.Now().Add(8760 * time.Hour).Unix()}
			return forge(map[string]any{"alg": "ES256", "kid": kid(f.t, f.token)}, f.claims(long), es256(leaked(f.t, f.s))), home
		}, cardbroker.RuleToken},
		{"of an API key that was revoked a moment ago", func(f *thief) (string, string) {
			if _, err := f.s.Revoke(f.t.Context(), "shop"); err != nil {
				f.t.Fatal(err)
			}
			return f.token, home
		}, cardbroker.RuleToken},
		{"of before a clock was set back", func(f *thief) (string, string) {
			ahead := map[string]any{"iat": time.Now().Unix() + 600, "nbf": time.Now().Unix() + 600, "exp": time.Now().Unix() + 900}
			return forge(map[string]any{"alg": "ES256", "kid": kid(f.t, f.token)}, f.claims(ahead), es256(leaked(f.t, f.s))), home
		}, cardbroker.RuleTokenTime},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newThief(t)
				defer f.s.stop()
				token, from := test.attack(f)
				if tenant, err := f.naive.authenticate(token); err != nil || tenant != "shop" {
					t.Errorf("the naive broker answers %q, %v: this is no attack", tenant, err)
				}
				tenant, err := f.s.authenticateFrom(token, from)
				if cardbroker.ReasonOf(err) != cardbroker.Unauthenticated || cardbroker.RuleOf(err) != test.rule {
					t.Errorf("Authenticate = %q, %v, want unauthenticated by %s", tenant, err, test.rule)
				}
			})
		})
	}
}

// TestRefusalsAreOne: whatever is wrong with an API key, and be it the address that it is shown from, is said in the same words.
func TestRefusalsAreOne(t *testing.T) {
	f := newThief(t)
	if tenant, err := f.naive.exchange(string(f.key.Reveal())); err != nil || tenant != "shop" {
		t.Errorf("the naive broker answers %q, %v: this is no attack", tenant, err)
	}
	elsewhere := func(tenant cardbroker.Tenant) bool { return tenant != "shop" }
	_, refused := f.s.Exchange(f.key, elsewhere)
	if cardbroker.RuleOf(refused) != cardbroker.RuleToken {
		t.Errorf("Exchange from elsewhere = %v, want it refused", refused)
	}
	if _, err := f.s.Revoke(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	text := string(f.key.Reveal())
	for name, key := range map[string]string{
		"revoked": text, "empty": "", "unknown": string(cardbroker.RandomSecret().Reveal()), "a token": f.token, "cut off": text[:40],
		"longer": text + "x", "without its prefix": text[5:],
	} {
		if _, err := f.s.Exchange(cardbroker.NewSecret([]byte(key)), anywhere); fmt.Sprint(err) != fmt.Sprint(refused) {
			t.Errorf("Exchange of a key that is %s = %v, want the same as of every other: %v", name, err, refused)
		}
	}
}

func newThief(t *testing.T) *thief {
	t.Helper()
	s := newSite(t, issuer.Config{})
	f := &thief{t: t, s: s, naive: &naive{keys: map[string]*ecdsa.PublicKey{}, api: map[string]cardbroker.Tenant{}}}
	_, f.key = s.enrol("shop")
	_, own := s.enrol("other")
	f.token, f.own = s.exchange(f.key), s.exchange(own)
	jwks, _ := s.JWKS()
	f.naive.learn(jwks)
	f.naive.api[string(f.key.Reveal())] = "shop"
	s.wantTenant("before the attack", f.token, "shop")
	if tenant, err := f.naive.authenticate(f.token); err != nil || tenant != "shop" {
		t.Fatalf("the naive broker answers %q, %v to a good token", tenant, err)
	}
	return f
}
