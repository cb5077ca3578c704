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

// TestPolicyHTTP: the last file that says something counts, and what is none of two words is an error.
func TestPolicyHTTP(t *testing.T) {
	for _, test := range []struct {
		name, first, second string
		want                [2]bool // PagesOnly, NoDemo
		wrong               string
	}{
		{"nothing", "", "", [2]bool{}, ""},
		{"deny", "http: {local_programs: deny}\n", "", [2]bool{true, false}, ""},
		{"allow after deny", "http: {local_programs: deny}\n", "http: {local_programs: allow}\n", [2]bool{}, ""},
		{"deny, then another section", "http: {local_programs: deny}\n", "http: {}\n", [2]bool{true, false}, ""},
		{"no demo", "http: {demo: deny}\n", "http: {local_programs: deny}\n", [2]bool{true, true}, ""},
		{"a demo after all", "http: {demo: deny}\n", "http: {demo: allow}\n", [2]bool{}, ""},
		{"no such word for the demo", "http: {demo: off}\n", "", [2]bool{}, `http.demo: "off", want allow or deny`},
		{"no such word", "http: {local_programs: no}\n", "", [2]bool{}, `http.local_programs: "no", want allow or deny`},
		{"no such key", "http: {programs: deny}\n", "", [2]bool{}, `unknown field "programs"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := config.LoadPolicy(policyDir(t, map[string]string{"a.yaml": test.first, "b.yaml": test.second}))
			if test.wrong != "" {
				if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), test.wrong) {
					t.Errorf("LoadPolicy = %v, want invalid: %s", err, test.wrong)
				}
				return
			}
			if got := [2]bool{p.PagesOnly, p.NoDemo}; err != nil || got != test.want {
				t.Errorf("LoadPolicy = %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

// TestPolicyNotify: the desktop is told unless a file says otherwise; the last one counts.
func TestPolicyNotify(t *testing.T) {
	for _, test := range []struct {
		first, second string
		want          bool
	}{
		{"", "", false},
		{"notify: false\n", "", true},
		{"notify: false\n", "notify: true\n", false},
		{"notify: false\n", "http: {}\n", true},
	} {
		p, err := config.LoadPolicy(policyDir(t, map[string]string{"a.yaml": test.first, "b.yaml": test.second}))
		if err != nil || p.NoNotices != test.want {
			t.Errorf("LoadPolicy(%q, %q) = %+v, %v, want NoNotices %v", test.first, test.second, p, err, test.want)
		}
	}
}
