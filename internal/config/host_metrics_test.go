// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
)

func TestHostMetrics(t *testing.T) {
	for text, want := range map[string]string{
		"metrics: {listen: '127.0.0.1:9464', users: [prometheus]}": "",
		"metrics: {listen: '[::1]:0'}":                             "",
		"metrics: {listen: '0.0.0.0:9464'}":                        "want 127.0.0.1:PORT",
		"metrics: {listen: ':9464'}":                               "want 127.0.0.1:PORT",
		"metrics: {listen: localhost}":                             "want 127.0.0.1:PORT",
		"metrics: {users: [prometheus]}":                           "no listen",
		"metrics: {port: 9464}":                                    "unknown field",
	} {
		file := filepath.Join(t.TempDir(), "host.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.LoadHost(file, config.Host{})
		if want == "" && err != nil || want != "" && (cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
