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

func TestReadersPolicy(t *testing.T) {
	p, err := config.LoadPolicy(policyDir(t, map[string]string{
		"a.yaml": "readers: {exclude: [Contactless]}\nremote_loading: {pin: allow}",
		"b.yaml": "readers: {exclude: [HELLO, \"acme*0?\"]}",
	}))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"Windows Hello 1": true, "ACME Twin 00 01": true, "Virtual PCD": false, "X Contactless": false} {
		if got := p.Excludes(name); got != want {
			t.Errorf("Excludes(%q) = %v, want %v", name, got, want)
		}
	}
	if !p.PagePINs {
		t.Error("remote_loading.pin: allow does not count")
	}
	if p, err := config.LoadPolicy(policyDir(t, map[string]string{"a.yaml": "readers: {}"})); err != nil || p.PagePINs || p.Excludes("x") {
		t.Errorf("the default is %+v, %v", p, err)
	}
}

func TestReadersPolicyErrors(t *testing.T) {
	for text, want := range map[string]string{
		"readers: {exclude: [a, \"\"]}":                            "readers.exclude[1]",
		"readers: {exclude: [" + strings.Repeat("x", 65) + "]}":    "1 to 64",
		"readers: {exclude: [" + strings.Repeat("a, ", 64) + "b]}": "65 patterns, want 64 or fewer",
		"readers: {only: [a]}":                                     `unknown field "only"`,
		"remote_loading: {pin: ask}":                               `remote_loading.pin: "ask", want allow or deny`,
	} {
		_, err := config.LoadPolicy(policyDir(t, map[string]string{"a.yaml": text}))
		if message := api.Describe(err).Description; cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(message, want) {
			t.Errorf("%s: LoadPolicy = %v, want invalid with %q", text, err, want)
		}
	}
}
