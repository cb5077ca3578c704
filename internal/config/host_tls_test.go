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

func TestTLS(t *testing.T) {
	for _, test := range []struct {
		text  string
		want  config.TLS
		plain bool
	}{
		{"", config.TLS{}, true},
		{"tls: {}", config.TLS{}, true},
		{"tls: {local_ca: true}", config.TLS{LocalCA: true}, true},
		{"tls: {local_ca: true, plain: deny}", config.TLS{LocalCA: true, Plain: "deny"}, false},
		{"tls: {cert: c, key: k, name: cards.example, plain: allow}", config.TLS{Cert: "c", Key: "k", Name: "cards.example", Plain: "allow"}, true},
	} {
		got, err := config.LoadHost(write(t, test.text), config.Host{})
		if err != nil || got.TLS != test.want || got.TLS.Enabled() != (test.want != config.TLS{}) || got.TLS.PlainAllowed() != test.plain {
			t.Errorf("%s: %+v, plain %v, %v, want %+v, plain %v", test.text, got.TLS, got.TLS.PlainAllowed(), err, test.want, test.plain)
		}
	}
}

func TestFixedPorts(t *testing.T) {
	got, err := config.LoadHost(write(t, "tls: {local_ca: true}\nfixed_ports: [{port: 53951}, {port: 53952, tls: true}, {port: 0}, {port: 0}]"), config.Host{})
	if want := []config.FixedPort{{Port: 53951}, {Port: 53952, TLS: true}, {}, {}}; err != nil || !reflect.DeepEqual(got.FixedPorts, want) {
		t.Errorf("fixed_ports = %+v, %v, want %+v", got.FixedPorts, err, want)
	}
}

func TestTLSErrors(t *testing.T) {
	for text, want := range map[string]string{
		"tls: {cert: c}":                             "want cert and key",
		"tls: {plain: deny}":                         "want cert and key",
		"tls: {cert: c, key: k, local_ca: true}":     "two ways",
		"tls: {local_ca: true, name: cards.example}": "localhost alone",
		"tls: {local_ca: true, plain: no}":           "plain: want",
		"tls: {cert: c, key: k, name: '*.example'}":  "name: want",
		"tls: {cert: c, key: k, name: 'h:443'}":      "name: want",
		"fixed_ports: [{port: 1, tls: true}]":        "there is no tls",
		"fixed_ports: [{port: 1}, {port: 1}]":        "twice",
		"fixed_ports: [{port: 65536}]":               "65536",
		"fixed_ports: [{port: 1, owner: me}]":        "unknown field",
	} {
		_, err := config.LoadHost(write(t, text), config.Host{})
		if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
