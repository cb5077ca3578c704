// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
)

func TestConnect(t *testing.T) {
	host, err := config.LoadHost(write(t, `backend:
  connect:
    - {url: "wss://backend.example:9443", tenant: issuer, ca: ca.pem, cert: vda.pem, key: vda.key}
    - {url: "wss://other.example", tenant: acme, token_file: token, proxy: "http://proxy.example:3128"}
`), config.Host{})
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Connect{
		{URL: "wss://backend.example:9443", Tenant: "issuer", CA: "ca.pem", Cert: "vda.pem", Key: "vda.key"},
		{URL: "wss://other.example", Tenant: "acme", TokenFile: "token", Proxy: "http://proxy.example:3128"},
	}
	if !reflect.DeepEqual(host.Backend.Connect, want) {
		t.Errorf("connect = %+v, want %+v", host.Backend.Connect, want)
	}
}

// TestConnectErrors: what is wrong with a rendezvous is Invalid, and the message says where.
func TestConnectErrors(t *testing.T) {
	good := "{url: 'wss://b:1', tenant: issuer, token_file: t}"
	for _, test := range []struct{ name, text, want string }{
		{"no tenant", "{url: 'wss://b:1', token_file: t}", "connect[0].tenant"},
		{"a name that is none", "{url: 'wss://b:1', tenant: a/b, token_file: t}", "connect[0].tenant"},
		{"no URL", "{tenant: issuer, token_file: t}", "connect[0].url"},
		{"no TLS", "{url: 'ws://b:1', tenant: issuer, token_file: t}", "connect[0].url"},
		{"a path", "{url: 'wss://b:1/x', tenant: issuer, token_file: t}", "connect[0].url"},
		{"a user", "{url: 'wss://me@b:1', tenant: issuer, token_file: t}", "connect[0].url"},
		{"a query", "{url: 'wss://b:1?x', tenant: issuer, token_file: t}", "connect[0].url"},
		{"nobody who calls", "{url: 'wss://b:1', tenant: issuer}", "want cert and key, or token_file"},
		{"two who call", "{url: 'wss://b:1', tenant: issuer, cert: c, key: k, token_file: t}", "want cert and key, or token_file"},
		{"no key", "{url: 'wss://b:1', tenant: issuer, cert: c}", "cert and key go together"},
		{"a proxy with a password", "{url: 'wss://b:1', tenant: issuer, token_file: t, proxy: 'http://me:it@p:1'}", "connect[0].proxy"},
		{"a proxy over TLS", "{url: 'wss://b:1', tenant: issuer, token_file: t, proxy: 'https://p:1'}", "connect[0].proxy"},
		{"twice", good + ", " + good, "connect[1].url"},
		{"too many", strings.Repeat(good+", ", 65), "65 entries"},
		{"an unknown key", "{url: 'wss://b:1', tenant: issuer, token: t}", `unknown field "token"`},
	} {
		_, err := config.LoadHost(write(t, "backend:\n  connect: ["+test.text+"]\n"), config.Host{})
		if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want invalid with %q", test.name, err, test.want)
		}
	}
}
