// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pagejwt_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pagejwt"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

const app = cardbroker.Origin("https://app.example")

// site is an identity provider, its file of keys and a policy that names it.
type site struct {
	t    *testing.T
	file string
	key  *ecdsa.PrivateKey
	log  bytes.Buffer
	*pagejwt.Judge
}

func newSite(t *testing.T) *site {
	t.Helper()
	testenv.Root(t)
	s := &site{t: t, file: filepath.Join(t.TempDir(), "keys.json")}
	s.key = s.publish("k")
	dir := filepath.Join(t.TempDir(), "policy.d")
	policy := "tenants:\n  shop: {origins: [" + string(app) + "], page_jwt: {jwks_file: " + s.file + ", issuer: idp, audience: cards}}\n"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/a.yaml", []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := config.LoadPolicy(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Judge = pagejwt.New(p, slog.New(slog.NewTextHandler(&s.log, nil)))
	return s
}

// publish writes another key to the file.
func (s *site) publish(kid string) *ecdsa.PrivateKey {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, 32))) }
	text := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":%q,"x":%q,"y":%q}]}`, kid, number(key.X), number(key.Y))
	if err := os.WriteFile(s.file+".new", []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.file+".new", s.file); err != nil {
		s.t.Fatal(err)
	}
	return key
}

// claims are a good token's, changed.
func claims(change map[string]any) map[string]any {
	now := time.Now().Unix()
	all := map[string]any{"iss": "idp", "aud": "cards", "sub": "u", "jti": "j", "iat": now, "exp": now + 300, "origin": string(app)}
	for name, value := range change {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	return all
}

func sign(key *ecdsa.PrivateKey, kid string, claims map[string]any) string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(map[string]string{"alg": "ES256", "kid": kid}) + "." + part(claims)
	digest := sha256.Sum256([]byte(text))
	r, s, _ := ecdsa.Sign(rand.Reader, key, digest[:])
	return "Bearer " + text + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// naive believes what is signed by the key and has not expired: it does not ask for whom the token was made.
func naive(key *ecdsa.PrivateKey, authorization string) bool {
	parts := strings.Split(strings.TrimPrefix(authorization, "Bearer "), ".")
	if len(parts) != 3 {
		return false
	}
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var c struct{ Exp int64 }
	json.Unmarshal(body, &c)
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return len(signature) == 64 && c.Exp > time.Now().Unix() &&
		ecdsa.Verify(&key.PublicKey, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
}

// TestStolenTokens: tokens that another page, or another program, got of the same provider. Each fools who looks at signature and
// exp only.
func TestStolenTokens(t *testing.T) {
	s := newSite(t)
	for name, change := range map[string]map[string]any{
		"of another page":                          {"origin": "https://evil.example"},
		"of another page, by azp":                  {"origin": nil, "azp": "https://evil.example"},
		"of another page, whose azp is this one":   {"origin": "https://evil.example", "azp": string(app)},
		"of a page of another port":                {"origin": string(app) + ":8443"},
		"of a page below the origin's name":        {"origin": "https://app.example.evil.example"},
		"of no page":                               {"origin": nil},
		"for another API":                          {"aud": "mail"},
		"of another issuer with the same key":      {"iss": "other"},
		"that lives for a day":                     {"exp": time.Now().Unix() + 86400},
		"of tomorrow":                              {"iat": time.Now().Unix() + 3600, "exp": time.Now().Unix() + 3700},
		"without a beginning":                      {"iat": nil},
		"whose origin is a list with this in it":   {"origin": []string{string(app)}},
		"whose origin has a slash, which none has": {"origin": string(app) + "/"},
	} {
		t.Run(name, func(t *testing.T) {
			token := sign(s.key, "k", claims(change))
			if !naive(s.key, token) {
				t.Error("the naive agent is not fooled: this is no attack")
			}
			if err := s.Check(app, token); cardbroker.ReasonOf(err) != cardbroker.Unauthenticated || cardbroker.RuleOf(err) != cardbroker.RulePageJWT {
				t.Errorf("Check = %v, want unauthenticated by page_jwt", err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	s := newSite(t)
	for _, test := range []struct {
		name, origin, authorization string
		good                        bool
	}{
		{"a good one", string(app), sign(s.key, "k", claims(nil)), true},
		{"azp names the page", string(app), sign(s.key, "k", claims(map[string]any{"origin": nil, "azp": string(app)})), true},
		{"azp is a client, and origin the page", string(app), sign(s.key, "k", claims(map[string]any{"azp": "web"})), true},
		{"nothing", string(app), "", false},
		{"no token", string(app), "Bearer ", false},
		{"another scheme", string(app), strings.Replace(sign(s.key, "k", claims(nil)), "Bearer", "Basic", 1), false},
		{"an origin that needs none", "https://free.example", "", true},
		{"a program", "", "", true},
	} {
		if err := s.Check(cardbroker.Origin(test.origin), test.authorization); (err == nil) != test.good {
			t.Errorf("%s: Check = %v, want good: %v", test.name, err, test.good)
		}
	}
	old := claims(map[string]any{"iat": time.Now().Unix() - 900, "exp": time.Now().Unix() - 600})
	if err := s.Check(app, sign(s.key, "k", old)); !strings.Contains(fmt.Sprint(err), "ago by this host's clock") || cardbroker.RuleOf(err) != cardbroker.RulePageJWT {
		t.Errorf("Check of an old one = %v, want how old it is", err)
	}
}

// TestKeysChange: the file is read again when it changes; while it is not to be trusted, nobody is.
func TestKeysChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		first := s.key
		good := func(key *ecdsa.PrivateKey, kid string) bool { return s.Check(app, sign(key, kid, claims(nil))) == nil }
		if !good(first, "k") {
			t.Fatal("the first key is not believed")
		}
		second := s.publish("k2")
		if !good(first, "k") || good(second, "k2") {
			t.Error("the file is read for each request")
		}
		time.Sleep(time.Second)
		if good(first, "k") || !good(second, "k2") {
			t.Error("a key that was taken out is believed, or the new one not")
		}
		for name, attack := range map[string]func() error{
			"writable by others": func() error { return os.Chmod(s.file, 0o666) },
			"another user's":     func() error { return os.Chown(s.file, 61001, 0) },
			"gone":               func() error { return os.Rename(s.file, s.file+".gone") },
			"empty":              func() error { return os.Truncate(s.file, 0) },
		} {
			key := s.publish("k3")
			time.Sleep(time.Second)
			if !good(key, "k3") {
				t.Fatalf("before it is %s, the key is not believed", name)
			}
			if err := attack(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if good(key, "k3") {
				t.Errorf("keys of a file that is %s are believed", name)
			}
			time.Sleep(time.Second)
			if good(key, "k3") {
				t.Errorf("keys of a file that is %s are believed later", name)
			}
		}
		if !strings.Contains(s.log.String(), "keys cannot be used") {
			t.Errorf("the log says %q", s.log.String())
		}
	})
}
