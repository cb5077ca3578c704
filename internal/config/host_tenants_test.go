// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
)

// TestTenantErrors: what is wrong with a tenant is Invalid, and the message says where.
func TestTenantErrors(t *testing.T) {
	const jwt = "tenants: {acme: {jwt: {issuer: i, audience: a, subject: s"
	for _, test := range []struct{ name, text, want string }{
		{"a name", "tenants: {Acme Inc: {}}", `"Acme Inc" is not a tenant's name`},
		{"an unknown key", "tenants: {acme: {token: x}}", `unknown field "token"`},
		{"a short thumbprint", "tenants: {acme: {certificates: [{sha256: ab}]}}", "tenants.acme.certificates[0]"},
		{"a thumbprint with a name", "tenants: {acme: {certificates: [{sha256: " + strings.Repeat("a", 64) + ", name: x}]}}", "certificates[0]"},
		{"a CA without a name", "tenants: {acme: {certificates: [{ca: /ca}]}}", "certificates[0]"},
		{"a name without a CA", "tenants: {acme: {certificates: [{name: x}]}}", "certificates[0]"},
		{"an empty certificate", "tenants: {acme: {certificates: [{}]}}", "certificates[0]"},
		{"an address without its mask", "tenants: {acme: {addresses: [10.1.2.3]}}", "tenants.acme.addresses"},
		{"no subject", "tenants: {acme: {jwt: {issuer: i, audience: a, keys_file: /k}}}", "want issuer, audience and subject"},
		{"no keys", jwt + "}}}", "want keys_file or keys_url"},
		{"keys twice", jwt + ", keys_file: /k, keys_url: 'https://k'}}}", "want keys_file or keys_url"},
		{"keys in clear", jwt + ", keys_url: 'http://k'}}}", "keys_url"},
		{"an algorithm of a shared secret", jwt + ", keys_file: /k, algorithms: [HS256]}}}", `"HS256"`},
		{"no algorithm", jwt + ", keys_file: /k, algorithms: [none]}}}", `"none"`},
		{"a long life", jwt + ", keys_file: /k, max_life: 25h}}}", "max_life"},
		{"a life without a unit", jwt + ", keys_file: /k, max_life: '300'}}}", "max_life"},
		{"another replay", jwt + ", keys_file: /k, replay: never}}}", `"never", want tunnel or bearer`},
		{"a CA for a file", jwt + ", keys_file: /k, ca: /ca}}}", "tenants.acme.jwt.ca"},
		{"two of one subject", "tenants: {acme: {jwt: {issuer: i, audience: a, subject: s, keys_file: /k}}, rival: " +
			"{jwt: {issuer: i, audience: a, subject: s, keys_file: /k}}}", "tenants.rival.jwt: issuer, audience and subject are those of acme"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := config.LoadHost(write(t, test.text), config.Host{})
			if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(api.Describe(err).Description, test.want) {
				t.Errorf("LoadHost = %v, want invalid and %q", err, test.want)
			}
		})
	}
}
