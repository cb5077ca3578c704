// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
)

func TestPINPolicy(t *testing.T) {
	ask := program(t)
	for _, test := range []struct {
		name  string
		files []string
		want  config.PINPolicy
	}{
		{"nothing", []string{"pcsc: {shared: deny}"}, config.PINPolicy{}},
		{"what is the default", []string{"pin: {clear: deny, floor: 1, ask: session, session: {seconds: 0, uses: 0}}"}, config.PINPolicy{Floor: 1}},
		{"all", []string{"pin: {clear: allow, floor: 3, session: {seconds: 300, uses: 20}}"},
			config.PINPolicy{Clear: true, Floor: 3, Session: config.PINSession{Time: 5 * time.Minute, Uses: 20}}},
		{"always, by the desktop's dialog", []string{"pin: {ask: always}"}, config.PINPolicy{Ask: true}},
		{"always", []string{"pin: {ask: always}\nprompt: {command: [" + ask + "]}"}, config.PINPolicy{Ask: true}},
		{"key by key", []string{"pin: {clear: allow, session: {seconds: 300, uses: 20}}", "pin: {clear: deny, session: {uses: 1}}"},
			config.PINPolicy{Session: config.PINSession{Time: 5 * time.Minute, Uses: 1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{}
			for i, text := range test.files {
				files[string(rune('a'+i))+".yaml"] = text
			}
			p, err := config.LoadPolicy(policyDir(t, files))
			if err != nil || p.PIN != test.want {
				t.Errorf("LoadPolicy = %+v, %v, want %+v", p.PIN, err, test.want)
			}
		})
	}
}

func TestPINPolicyErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"pin: {clear: yes}", `pin.clear`},
		{"pin: {floor: 0}", "pin.floor: 0, want 1 to 15"},
		{"pin: {floor: 16}", "pin.floor"},
		{"pin: {ask: never}", `pin.ask: "never", want always or session`},
		{"pin: {session: {seconds: -1, uses: 1}}", "pin.session.seconds"},
		{"pin: {session: {seconds: 3601, uses: 1}}", "pin.session.seconds: 3601, want 0 to 3600"},
		{"pin: {session: {seconds: 60, uses: 1001}}", "pin.session.uses"},
		{"pin: {session: {seconds: 60}}", "wants both"},
		{"pin: {session: {uses: 3}}", "wants both"},
		{"pin: {session: {minutes: 3}}", `unknown field "minutes"`},
		{"pin: deny", "[1:"},
	} {
		_, err := config.LoadPolicy(policyDir(t, map[string]string{"a.yaml": test.text}))
		if message := api.Describe(err).Description; cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(message, test.want) {
			t.Errorf("%s: LoadPolicy = %v, want invalid with %q", test.text, err, test.want)
		}
	}
	ask := program(t)
	text := "prompt: {command: [" + ask + "]}\npin: {ask: always, session: {seconds: 60, uses: 2}}"
	if _, err := config.LoadPolicy(policyDir(t, map[string]string{"a.yaml": text})); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("LoadPolicy of always and a session = %v, want invalid", err)
	}
}
