// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package config_test

import (
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
)

// TestPolicyElection: the last file that says something counts, and what is none of two words is an error.
func TestPolicyElection(t *testing.T) {
	for _, test := range []struct {
		name, first, second string
		want                config.Election
		wrong               string
	}{
		{"nothing", "", "", config.Election{AfterService: true}, ""},
		{"any user", "election: {scope: any_user}\n", "", config.Election{AnyUser: true, AfterService: true}, ""},
		{"one user after all", "election: {scope: any_user}\n", "election: {scope: same_user}\n", config.Election{AfterService: true}, ""},
		{"never after a service", "election: {after_service: deny}\n", "election: {}\n", config.Election{}, ""},
		{"after all", "election: {after_service: deny}\n", "election: {after_service: allow}\n", config.Election{AfterService: true}, ""},
		{"no such scope", "election: {scope: all}\n", "", config.Election{}, `election.scope: "all", want same_user or any_user`},
		{"no such word", "election: {after_service: no}\n", "", config.Election{}, `election.after_service: "no", want allow or deny`},
		{"no such key", "election: {enabled: true}\n", "", config.Election{}, `unknown field "enabled"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := config.LoadPolicy(policyDir(t, map[string]string{"a.yaml": test.first, "b.yaml": test.second}))
			if test.wrong != "" {
				if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), test.wrong) {
					t.Errorf("LoadPolicy = %v, want invalid: %s", err, test.wrong)
				}
				return
			}
			if err != nil || p.Election != test.want {
				t.Errorf("LoadPolicy = %+v, %v, want %+v", p.Election, err, test.want)
			}
		})
	}
}
