// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package jose_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/jose"
)

const door = "wss://door.example:8443"

// newKey makes a signing key.
func newKey(t testing.TB) jose.SigningKey {
	t.Helper()
	key, err := jose.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func grant(now time.Time) jose.Grant {
	return jose.Grant{Issuer: door, Audience: door, Subject: "issuer", ID: "issuer/00000000.x", Issued: now, Expires: now.Add(5 * time.Minute)}
}

// TestSignedIsVerified: what is signed here is verified by what is published, and by no other key of the set's owner.
func TestSignedIsVerified(t *testing.T) {
	key, other := newKey(t), newKey(t)
	now := time.Now()
	token, err := key.Sign(grant(now))
	if err != nil {
		t.Fatal(err)
	}
	verifier := jose.Verifier{Algorithms: []string{"ES256"}, Issuer: door, Audience: door}
	for _, test := range []struct {
		name string
		keys []jose.SigningKey
		good bool
	}{
		{"its own key", []jose.SigningKey{key}, true},
		{"among others", []jose.SigningKey{other, key}, true},
		{"another key", []jose.SigningKey{other}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, err := jose.PublishKeys(test.keys)
			if err != nil {
				t.Fatal(err)
			}
			set, err := jose.ParseKeySet(text)
			if err != nil {
				t.Fatalf("ParseKeySet(%s) = %v", text, err)
			}
			claims, err := verifier.Verify(string(token.Reveal()), set, now)
			if good := err == nil; good != test.good {
				t.Fatalf("Verify = %+v, %v, want good: %v", claims, err, test.good)
			}
			if test.good && (claims.Subject != "issuer" || claims.ID != "issuer/00000000.x" || !claims.Expires.Equal(now.Truncate(time.Second).Add(5*time.Minute))) {
				t.Errorf("Verify = %+v", claims)
			}
		})
	}
}

// TestKeyID: the name of a key is the hash of its members in the order of RFC 7638 §3.2.
func TestKeyID(t *testing.T) {
	key := newKey(t)
	text, err := jose.PublishKeys([]jose.SigningKey{key})
	if err != nil {
		t.Fatal(err)
	}
	var set struct {
		Keys []struct{ Alg, Crv, D, Kid, Kty, Use, X, Y string }
	}
	if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%s: %v", text, err)
	}
	k := set.Keys[0]
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":%q,"kty":%q,"x":%q,"y":%q}`, k.Crv, k.Kty, k.X, k.Y))
	if want := base64.RawURLEncoding.EncodeToString(sum[:]); k.Kid != want || key.ID() != want {
		t.Errorf("the kid is %s, ID %s, want %s", k.Kid, key.ID(), want)
	}
	if k.D != "" || k.Crv != "P-256" || k.Alg != "ES256" || k.Use != "sig" {
		t.Errorf("published is %s", text)
	}
}

// TestSigningKeyIsKept: a key that was written down is the same key; what is none is refused without a word of it.
func TestSigningKeyIsKept(t *testing.T) {
	key := newKey(t)
	private, err := key.Private()
	if err != nil {
		t.Fatal(err)
	}
	again, err := jose.ParseSigningKey(cardbroker.NewSecret(bytes.Clone(private.Reveal())))
	if err != nil || again.ID() != key.ID() {
		t.Errorf("ParseSigningKey = %v, %v, want %v", again, err, key)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"nothing": nil, "text": []byte("canary"), "P-384": foreign, "cut off": private.Reveal()[:60]} {
		if _, err := jose.ParseSigningKey(cardbroker.NewSecret(text)); cardbroker.ReasonOf(err) != cardbroker.Invalid || strings.Contains(fmt.Sprint(err), "canary") {
			t.Errorf("ParseSigningKey of %s = %v, want invalid", name, err)
		}
	}
}

// TestSigningKeyShowsNothing: no way to print or log a key shows it, nor what holds one.
func TestSigningKeyShowsNothing(t *testing.T) {
	key := newKey(t)
	private, err := key.Private()
	if err != nil {
		t.Fatal(err)
	}
	der := private.Reveal()
	scalar := der[36:68] // of PKCS #8 with P-256
	holder := struct {
		inner struct{ k jose.SigningKey }
		P     *jose.SigningKey
	}{P: &key}
	holder.inner.k = key
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		fmt.Fprintf(&out, verb+"\n", key)
		fmt.Fprintf(&out, verb+"\n", holder)
		fmt.Fprintf(&out, verb+"\n", []jose.SigningKey{key})
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "key", key, "holder", holder)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", key, "holder", holder)
	json.NewEncoder(&out).Encode(holder)
	said := strings.ToLower(out.String())
	for _, form := range []string{string(scalar), hex.EncodeToString(scalar), base64.StdEncoding.EncodeToString(scalar),
		base64.RawURLEncoding.EncodeToString(scalar), strings.Trim(fmt.Sprint(scalar), "[]")} {
		if strings.Contains(said, strings.ToLower(form)) {
			t.Errorf("the key shows: %s", out.String())
		}
	}
}

// BenchmarkSign is a whole token; the limit is BenchmarkBareSignature.
func BenchmarkSign(b *testing.B) {
	key := newKey(b)
	g := grant(time.Now())
	for b.Loop() {
		if _, err := key.Sign(g); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareSignature is one ECDSA signature on P-256.
func BenchmarkBareSignature(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("token"))
	for b.Loop() {
		if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
			b.Fatal(err)
		}
	}
}
