// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// write makes a configuration file.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// thumbprint is a SHA-256 in hexadecimal.
const thumbprint = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

const full = `
listen: 127.0.0.1:1
ports: 2-3
socket: /s
state: /d
host: h
backend:
  listen: :4
  cert: c
  key: k
  tokens: t
  url: wss://u
  connect: [{url: "wss://b:1", tenant: acme, token_file: t}]
limits:
  reservationsPerUser: 5
  connectionsPerUser: 6
issuer:
  life: 7m
  rotate: 8h
tenants:
  acme:
    certificates: [{sha256: "` + thumbprint + `"}, {ca: ca, name: n}]
    jwt: {issuer: i, audience: a, subject: s, algorithms: [RS256], keys_url: https://u, ca: ca, max_life: 5m, replay: bearer}
    addresses: [10.0.0.0/8]
audit:
  keep_days: 7
  max_size: 8GiB
tls:
  cert: tc
  key: tk
  name: cards.example
  plain: deny
metrics: {listen: '[::1]:9', users: [scraper]}
fixed_ports:
  - {port: 7, tls: true}
  - port: 8
`

var fromFile = config.Host{
	Listen: "127.0.0.1:1", Ports: "2-3", Socket: "/s", State: "/d", Host: "h",
	Backend: config.Backend{Listen: ":4", Cert: "c", Key: "k", Tokens: "t", URL: "wss://u",
		Connect: []config.Connect{{URL: "wss://b:1", Tenant: "acme", TokenFile: "t"}}},
	Limits: config.Limits{ReservationsPerUser: 5, ConnectionsPerUser: 6},
	Issuer: config.Issuer{Life: "7m", Rotate: "8h"},
	Tenants: map[string]config.Tenant{"acme": {
		Certificates: []config.TenantCertificate{{SHA256: thumbprint}, {CA: "ca", Name: "n"}},
		JWT: &config.TenantJWT{Issuer: "i", Audience: "a", Subject: "s", Algorithms: []string{"RS256"}, KeysURL: "https://u", CA: "ca",
			MaxLife: "5m", Replay: "bearer"},
		Addresses: []string{"10.0.0.0/8"},
	}},
	Audit: config.Audit{KeepDays: 7, MaxSize: "8GiB"},

	Metrics: config.Metrics{Listen: "[::1]:9", Users: []string{"scraper"}},

	TLS:        config.TLS{Cert: "tc", Key: "tk", Name: "cards.example", Plain: "deny"},
	FixedPorts: []config.FixedPort{{Port: 7, TLS: true}, {Port: 8}},
}

// TestPrecedence: the command line wins over the file, and the file over the defaults.
func TestPrecedence(t *testing.T) {
	defaults := config.Host{Listen: config.DefaultListen, Ports: cardbroker.DefaultPorts}
	flags := config.Host{
		Listen: "l", Ports: "p", Socket: "s", State: "d",
		Backend: config.Backend{Listen: "bl", Cert: "bc", Key: "bk", Tokens: "bt"},
	}
	overridden := flags
	overridden.Host, overridden.Backend.URL, overridden.Limits = fromFile.Host, fromFile.Backend.URL, fromFile.Limits
	overridden.Issuer, overridden.Tenants = fromFile.Issuer, fromFile.Tenants
	overridden.Audit, overridden.Metrics, overridden.Backend.Connect = fromFile.Audit, fromFile.Metrics, fromFile.Backend.Connect
	overridden.TLS, overridden.FixedPorts = fromFile.TLS, fromFile.FixedPorts
	some := fromFile
	some.State, some.Backend.Cert = "d", "bc"
	for _, test := range []struct {
		name  string
		file  string
		flags config.Host
		want  config.Host
	}{
		{"nothing is said", "", config.Host{}, defaults},
		{"a comment", "# nothing\n", config.Host{}, defaults},
		{"an empty object", "{}", config.Host{}, defaults},
		{"the file", full, config.Host{}, fromFile},
		{"both", full, flags, overridden},
		{"some of both", full, config.Host{State: "d", Backend: config.Backend{Cert: "bc"}}, some},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := config.LoadHost(write(t, test.file), test.flags)
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("LoadHost = %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

// TestEveryKeyIsRead: the file that the other tests use leaves out no key, so none is untested.
func TestEveryKeyIsRead(t *testing.T) {
	var check func(v reflect.Value, name string)
	check = func(v reflect.Value, name string) {
		for i := range v.NumField() {
			field := name + v.Type().Field(i).Name
			if v.Field(i).Kind() == reflect.Struct {
				check(v.Field(i), field+".")
			} else if v.Field(i).IsZero() && field != "TLS.LocalCA" { // not beside TLS.Cert; TestTLS has it
				t.Errorf("%s is not in the file of the tests", field)
			}
		}
	}
	check(reflect.ValueOf(fromFile), "")
}

func TestLoadAgent(t *testing.T) {
	elect := config.Elect{Listen: config.DefaultListen, Ports: cardbroker.DefaultPorts}
	for text, want := range map[string]config.Agent{
		"socket: /s\naccount: cardbroker\nsandbox: /x/cardsandbox\natr_list: /l\n": {
			Socket: "/s", Account: "cardbroker", Sandbox: "/x/cardsandbox", ATRList: "/l", Elect: elect},
		"elect: {enabled: true, listen: '[::1]:7', ports: 8-9}\n": {Elect: config.Elect{Enabled: true, Listen: "[::1]:7", Ports: "8-9"}},
	} {
		if got, err := config.LoadAgent(write(t, text)); err != nil || got != want {
			t.Errorf("LoadAgent(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
}

// TestErrors: what is wrong with a file is Invalid, and the message that everybody may see says where.
func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string // parts of the message
	}{
		{"an unknown key", "listen: x\nlisten_on: y\n", []string{"[2:1]", `unknown field "listen_on"`}},
		{"an unknown key below another", "backend:\n  token: x\n", []string{"[2:3]", `unknown field "token"`}},
		{"a key of the wrong place", "cert: x\n", []string{"[1:1]", `unknown field "cert"`}},
		{"a key in capitals", "Listen: x\n", []string{"[1:1]", "unknown field"}},
		{"a text for a number", "limits:\n  connectionsPerUser: many\n", []string{"[2:23]", "int"}},
		{"an object for a text", "listen:\n  port: 1\n", []string{"[2:", "string"}},
		{"a list", "- listen\n", []string{"[1:1]"}},
		{"a text", "listen\n", []string{"[1:1]"}},
		{"a key twice", "listen: x\nports: y\nlisten: z\n", []string{"[3:1]", "listen"}},
		{"no YAML", "listen: [\n", []string{"[1:"}},
		{"no duration", "issuer: {life: soon}\n", []string{"issuer.life", `"soon"`}},
		{"a tab", "backend:\n\tlisten: x\n", []string{"[2:1]", "tab"}},
		{"fewer than none", "limits:\n  connectionsPerUser: -1\n", []string{"[2:23]", "-1"}},
		{"more than anybody has", "limits:\n  reservationsPerUser: 65536\n", []string{"[2:24]", "65536"}},
		{"two documents", "listen: x\n---\nports: y\n", []string{"more than one document"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, test.text)
			_, err := config.LoadHost(path, config.Host{})
			message := api.Describe(err).Description
			if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(message, path) {
				t.Fatalf("LoadHost = %v, want invalid with the file", err)
			}
			for _, part := range test.want {
				if !strings.Contains(message, part) {
					t.Errorf("LoadHost = %v, want %q in it", err, part)
				}
			}
		})
	}
}

// TestMissingFile: a file that was named must be there; the default one need not.
func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yaml")
	if _, err := config.LoadHost(path, config.Host{}); cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), path) {
		t.Errorf("LoadHost of a missing file = %v, want invalid with its name", err)
	}
	if _, err := config.LoadAgent(path); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("LoadAgent of a missing file = %v, want invalid", err)
	}
	if _, err := config.LoadHost(t.TempDir(), config.Host{}); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("LoadHost of a directory = %v, want invalid", err)
	}
	if _, err := os.Stat(config.HostFile); err == nil {
		testenv.Skip(t, "needs a host without "+config.HostFile)
	}
	if got, err := config.LoadHost("", config.Host{}); err != nil || got.Listen != config.DefaultListen {
		t.Errorf("LoadHost without a file = %+v, %v, want the defaults", got, err)
	}
}

// FuzzLoad: no file makes it panic, and what is wrong is always Invalid.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{"", full, "listen: [", "a: &a [*a]", "limits: {connectionsPerUser: 1e400}", "? :\n- x", "listen: !!binary x", "--- \n..."} {
		f.Add(seed)
	}
	path := filepath.Join(f.TempDir(), "c.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.LoadHost(path, config.Host{}); err != nil && cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("LoadHost(%q) = %v, want invalid", text, err)
		}
	})
}
