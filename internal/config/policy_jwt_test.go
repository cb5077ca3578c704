// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/jose"
)

// keySet makes a file of public keys, of root's.
func keySet(t testing.TB) string {
	t.Helper()
	key, err := jose.NewSigningKey()
	fatal(t, err)
	text, err := jose.PublishKeys([]jose.SigningKey{key})
	fatal(t, err)
	path := filepath.Join(t.TempDir(), "keys.json")
	fatal(t, os.WriteFile(path, text, 0o644))
	return path
}

func TestPageJWT(t *testing.T) {
	keys := keySet(t)
	p, err := config.LoadPolicy(policyDir(t, map[string]string{
		"1.yaml": "tenants:\n" +
			"  a: {origins: [https://a.example, https://both.example], page_jwt: {jwks_file: " + keys + ", issuer: i, audience: x}}\n" +
			"  b: {origins: [https://both.example]}\n" +
			"  c: {page_jwt: {jwks_file: " + keys + ", issuer: j, audience: y, algorithms: [RS256, EdDSA]}}\n",
		"2.yaml": "tenants: {c: {origins: [https://both.example]}}\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	a := config.PageJWT{JWKSFile: keys, Issuer: "i", Audience: "x", Algorithms: []string{"ES256"}}
	c := config.PageJWT{JWKSFile: keys, Issuer: "j", Audience: "y", Algorithms: []string{"RS256", "EdDSA"}}
	want := map[cardbroker.Origin][]config.PageJWT{"https://a.example": {a}, "https://both.example": {a, c}}
	if got := p.PageJWTs(); !reflect.DeepEqual(got, want) {
		t.Errorf("PageJWTs = %+v, want %+v", got, want)
	}
}

func TestPageJWTErrors(t *testing.T) {
	keys := keySet(t)
	private := filepath.Join(t.TempDir(), "private.json")
	fatal(t, os.WriteFile(private, []byte(`{"keys":[{"kty":"oct","kid":"k","k":"Y2FuYXJ5"}]}`), 0o644))
	for _, test := range []struct{ name, text, want string }{
		{"no issuer", "origins: [https://a], page_jwt: {jwks_file: " + keys + ", audience: x}", "tenants.a.page_jwt: want issuer"},
		{"no audience", "origins: [https://a], page_jwt: {jwks_file: " + keys + ", issuer: x}", "tenants.a.page_jwt: want issuer"},
		{"a relative path", "origins: [https://a], page_jwt: {jwks_file: k, issuer: i, audience: x}", "an absolute path"},
		{"an algorithm", "origins: [https://a], page_jwt: {jwks_file: " + keys + ", issuer: i, audience: x, algorithms: [HS256]}", `"HS256", want some of`},
		{"no origins", "page_jwt: {jwks_file: " + keys + ", issuer: i, audience: x}", "needs tenants.a.origins"},
		{"no file", "origins: [https://a], page_jwt: {jwks_file: /none, issuer: i, audience: x}", "/none"},
		{"no public keys", "origins: [https://a], page_jwt: {jwks_file: " + private + ", issuer: i, audience: x}", private},
		{"an unknown key", "origins: [https://a], page_jwt: {jwks_url: x}", "jwks_url"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := config.LoadPolicy(policyDir(t, map[string]string{"a.yaml": "tenants: {a: {" + test.text + "}}\n"}))
			if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(fmt.Sprint(err), test.want) || strings.Contains(fmt.Sprint(err), "Y2FuYXJ5") {
				t.Errorf("LoadPolicy = %v, want invalid: %s", err, test.want)
			}
		})
	}
	fatal(t, os.Chown(keys, 61001, 0))
	if _, err := config.LoadPolicy(policyDir(t, map[string]string{
		"a.yaml": "tenants: {a: {origins: [https://a], page_jwt: {jwks_file: " + keys + ", issuer: i, audience: x}}}\n"})); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("LoadPolicy with keys of another user = %v, want invalid", err)
	}
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
