// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package jose_test

import (
	"bytes"
	"compress/flate"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	library "github.com/go-jose/go-jose/v4"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/jose"
	"github.com/cardbroker/cardbroker/test/sealed"
)

// keys are a pair of each kind, with the public halves as pages have them.
type keys struct {
	ec       *ecdsa.PrivateKey
	rsa      *rsa.PrivateKey
	ecJWK    api.DeviceJWK
	rsaJWK   api.DeviceJWK
	everyAlg []library.KeyAlgorithm
}

func newKeys(t testing.TB) (k keys) {
	t.Helper()
	var err error
	if k.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if k.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	for algorithm, to := range map[string]*api.DeviceJWK{jose.ECDHES: &k.ecJWK, jose.RSAOAEP: &k.rsaJWK} {
		var public any = &k.ec.PublicKey
		if algorithm == jose.RSAOAEP {
			public = &k.rsa.PublicKey
		}
		text, id, err := jose.PublicKey(public, algorithm)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, to); err != nil || to.KeyID != id || len(id) != 43 || to.Use != "enc" {
			t.Fatalf("PublicKey = %s, %s, %v", text, id, err)
		}
	}
	k.everyAlg = []library.KeyAlgorithm{library.DIRECT, library.RSA1_5, library.RSA_OAEP, library.RSA_OAEP_256, library.ECDH_ES,
		library.ECDH_ES_A128KW, library.A256KW, library.PBES2_HS256_A128KW}
	return k
}

// naive opens a token as its header wants, with whatever fits: what one writes who lets the header decide.
func (k keys) naive(token string) ([]byte, error) {
	parsed, err := library.ParseEncryptedCompact(token, k.everyAlg, []library.ContentEncryption{library.A256GCM, library.A128GCM, library.A128CBC_HS256})
	if err != nil {
		return nil, err
	}
	var key any
	switch library.KeyAlgorithm(parsed.Header.Algorithm) {
	case library.DIRECT, library.PBES2_HS256_A128KW: // all that both sides know is the public key
		key = []byte(k.ecJWK.X)[:32]
	case library.ECDH_ES, library.ECDH_ES_A128KW:
		key = k.ec
	default:
		key = k.rsa
	}
	return parsed.Decrypt(key)
}

// TestHeaders: each token opens for the naive way, or costs it dearly; ours does not begin.
func TestHeaders(t *testing.T) {
	k := newKeys(t)
	shared := []byte(k.ecJWK.X)[:32]
	encrypt := func(alg library.KeyAlgorithm, key any, options *library.EncrypterOptions, p2c int, content []byte) string {
		t.Helper()
		e, err := library.NewEncrypter(library.A256GCM, library.Recipient{Algorithm: alg, Key: key, PBES2Count: p2c}, options)
		if err != nil {
			t.Fatal(err)
		}
		object, err := e.Encrypt(content)
		if err != nil {
			t.Fatal(err)
		}
		text, err := object.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	pin := []byte("123456")
	bomb := bytes.Repeat([]byte("1"), 200_000)
	for _, test := range []struct{ name, token string }{
		{"dir, with what everybody knows", encrypt(library.DIRECT, shared, nil, 0, pin)},
		{"RSA1_5, which is an oracle again", encrypt(library.RSA1_5, &k.rsa.PublicKey, nil, 0, pin)},
		{"RSA-OAEP with SHA-1", encrypt(library.RSA_OAEP, &k.rsa.PublicKey, nil, 0, pin)},
		{"a key wrap that nobody asked for", encrypt(library.ECDH_ES_A128KW, &k.ec.PublicKey, nil, 0, pin)},
		{"a password of a million rounds", encrypt(library.PBES2_HS256_A128KW, shared, nil, 1_000_000, pin)},
		{"a bomb", encrypt(library.ECDH_ES, &k.ec.PublicKey, &library.EncrypterOptions{Compression: library.DEFLATE}, 0, bomb)},
	} {
		t.Run(test.name, func(t *testing.T) {
			start := time.Now()
			got, err := k.naive(test.token)
			took := time.Since(start)
			if err != nil {
				t.Errorf("the naive way = %d bytes, %v: this is no attack", len(got), err)
			}
			start = time.Now()
			_, err = jose.ParseSealed(test.token)
			if cardbroker.ReasonOf(err) != cardbroker.Invalid {
				t.Errorf("ParseSealed = %v, want invalid", err)
			}
			t.Logf("naive: %d bytes of a token of %d, in %v; ours: refused in %v", len(got), len(test.token), took, time.Since(start))
		})
	}
}

// TestParseSealed changes a good header: only that one is read.
func TestParseSealed(t *testing.T) {
	k := newKeys(t)
	good := func() sealed.Header { return sealed.NewHeader(k.ecJWK, "0123456789abcdef", "n") }
	token := func(h sealed.Header) string {
		text, err := sealed.JWE(k.ecJWK, h, []byte("123456"))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	s, err := jose.ParseSealed(token(good()))
	if err != nil || s.Algorithm != "ECDH-ES" || s.KeyID != k.ecJWK.KeyID || s.Audience != "0123456789abcdef" || s.Nonce != "n" || s.Type != "pin+jwe" {
		t.Fatalf("ParseSealed = %+v, %v", s, err)
	}
	if secret, ok := s.Open(k.ec); !ok || string(secret) != "123456" {
		t.Errorf("Open = %s, %v", secret, ok)
	}
	if secret, ok := s.Open(newKeys(t).ec); ok {
		t.Errorf("Open with another key = %s", secret)
	}
	for name, change := range map[string]func(h sealed.Header){
		"alg dir":              func(h sealed.Header) { h["alg"] = "dir" },
		"alg RSA1_5":           func(h sealed.Header) { h["alg"] = "RSA1_5" },
		"alg RSA-OAEP":         func(h sealed.Header) { h["alg"] = "RSA-OAEP" },
		"a password":           func(h sealed.Header) { h["alg"] = "PBES2-HS256+A128KW" },
		"a key wrap":           func(h sealed.Header) { h["alg"] = "ECDH-ES+A128KW" },
		"alg none":             func(h sealed.Header) { h["alg"] = "none" },
		"alg in capitals":      func(h sealed.Header) { h["ALG"] = "dir" },
		"no alg":               func(h sealed.Header) { delete(h, "alg") },
		"another enc":          func(h sealed.Header) { h["enc"] = "A128CBC-HS256" },
		"zip":                  func(h sealed.Header) { h["zip"] = "DEF" },
		"zip, empty":           func(h sealed.Header) { h["zip"] = "" },
		"crit":                 func(h sealed.Header) { h["crit"] = []string{"exp"} },
		"a key of its own":     func(h sealed.Header) { h["jwk"] = map[string]string{"kty": "oct", "k": "AA"} },
		"a key from elsewhere": func(h sealed.Header) { h["jku"] = "https://evil.example/keys" },
		"a certificate":        func(h sealed.Header) { h["x5c"] = []string{"AA"} },
		"rounds":               func(h sealed.Header) { h["p2c"] = 1 << 30 },
		"no exp":               func(h sealed.Header) { delete(h, "exp") },
		"exp of a half":        func(h sealed.Header) { h["exp"] = 1.5 },
		"exp before time":      func(h sealed.Header) { h["exp"] = -1 },
		"exp as text":          func(h sealed.Header) { h["exp"] = "1" },
		"two readers":          func(h sealed.Header) { h["aud"] = []string{"a", "b"} },
		"too long":             func(h sealed.Header) { h["nonce"] = strings.Repeat("n", 4096) },
	} {
		h := good()
		change(h)
		text := token(h)
		_, err := jose.ParseSealed(text)
		if cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("%s: ParseSealed = %v, want invalid", name, err)
		}
	}
	parts := strings.Split(token(good()), ".")
	twice, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	parts[0] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(twice), `{`, `{"aud":"x",`, 1)))
	for name, text := range map[string]string{
		"nothing": "", "dots": "....", "four parts": strings.Join(parts[:4], "."), "six parts": strings.Join(parts, ".") + ".",
		"a member twice": strings.Join(parts, "."), "JSON": `{"protected":"e30","ciphertext":"AA"}`,
	} {
		if _, err := jose.ParseSealed(text); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("%s: ParseSealed = %v, want invalid", name, err)
		}
	}
}

// TestThumbprint is the example of RFC 7638 §3.1.
func TestThumbprint(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	var key library.JSONWebKey
	if err := key.UnmarshalJSON([]byte(`{"kty":"RSA","e":"AQAB","n":"` + n + `"}`)); err != nil {
		t.Fatal(err)
	}
	_, id, err := jose.PublicKey(key.Key, jose.RSAOAEP)
	if err != nil || id != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("PublicKey has the id %s, %v", id, err)
	}
}

// FuzzParseSealed: whatever is sent is Invalid, or opens or not, and never panics.
func FuzzParseSealed(f *testing.F) {
	k := newKeys(f)
	for _, key := range []api.DeviceJWK{k.ecJWK, k.rsaJWK} {
		text, err := sealed.JWE(key, sealed.NewHeader(key, "0123456789abcdef", "n"), []byte("123456"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	var deflated bytes.Buffer
	w, _ := flate.NewWriter(&deflated, 9)
	w.Write(make([]byte, 1000))
	w.Close()
	text, err := sealed.Compact(`{"alg":"dir","enc":"A256GCM","zip":"DEF"}`, nil, make([]byte, 32), deflated.Bytes())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, token string) {
		s, err := jose.ParseSealed(token)
		if err != nil {
			if cardbroker.ReasonOf(err) != cardbroker.Invalid {
				t.Errorf("ParseSealed = %v", err)
			}
			return
		}
		if s.Algorithm != jose.ECDHES && s.Algorithm != jose.RSAOAEP || s.Expires.Unix() <= 0 {
			t.Errorf("ParseSealed = %+v", s)
		}
		s.Open(k.ec)
		s.Open(k.rsa)
	})
}

func BenchmarkOpen(b *testing.B) {
	k := newKeys(b)
	for _, test := range []struct {
		jwk api.DeviceJWK
		key any
	}{{k.ecJWK, k.ec}, {k.rsaJWK, k.rsa}} {
		b.Run(test.jwk.Algorithm, func(b *testing.B) {
			text, err := sealed.JWE(test.jwk, sealed.NewHeader(test.jwk, "0123456789abcdef", "n"), []byte("123456"))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				s, err := jose.ParseSealed(text)
				if err != nil {
					b.Fatal(err)
				}
				if _, ok := s.Open(test.key); !ok {
					b.Fatal("not opened")
				}
			}
		})
	}
}
