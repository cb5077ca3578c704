// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
)

// TestTenantErrors: what is wrong with a tenant is Invalid, and the message says where.
func TestTenantErrors(t *testing.T) {
	jwt := func(change string) string {
		return "acme: {jwt: {issuer: i, audience: a, subject: s, keys_file: k, " + change + "}}"
	}
	for _, test := range []struct{ name, text, want string }{
		{"a name that is none", "a/b: {}", `"a/b" is not a tenant's name`},
		{"a certificate of nothing", "acme: {certificates: [{}]}", "tenants.acme.certificates[0]"},
		{"a short thumbprint", "acme: {certificates: [{ca: c, name: n}, {sha256: '00'}]}", "tenants.acme.certificates[1]"},
		{"a thumbprint and a CA", "acme: {certificates: [{ca: c, sha256: '" + thumbprint + "'}]}", "tenants.acme.certificates[0]"},
		{"a CA without a name", "acme: {certificates: [{ca: c}]}", "tenants.acme.certificates[0]"},
		{"an address", "acme: {addresses: [10.0.0.1]}", "tenants.acme.addresses"},
		{"no subject", "acme: {jwt: {issuer: i, audience: a, keys_file: k}}", "issuer, audience and subject"},
		{"no keys", "acme: {jwt: {issuer: i, audience: a, subject: s}}", "keys_file or keys_url"},
		{"two kinds of keys", jwt("keys_url: https://u"), "keys_file or keys_url"},
		{"keys without TLS", "acme: {jwt: {issuer: i, audience: a, subject: s, keys_url: http://u}}", "is not https://"},
		{"a symmetric algorithm", jwt("algorithms: [HS256]"), `"HS256"`},
		{"none", jwt("algorithms: [none]"), `"none"`},
		{"a long life", jwt("max_life: 25h"), "tenants.acme.jwt.max_life"},
		{"another replay", jwt("replay: always"), "tenants.acme.jwt.replay"},
		{"an unknown key", jwt("secret: x"), `unknown field "secret"`},
	} {
		_, err := config.LoadHost(write(t, "tenants:\n  "+test.text+"\n"), config.Host{})
		if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want invalid with %q", test.name, err, test.want)
		}
	}
}
