// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
)

func TestPolicyConsent(t *testing.T) {
	ask := program(t)
	p, err := config.LoadPolicy(policyDir(t, map[string]string{
		"1.yaml": "consent: {allow: ['https://*.example', 'http://intranet:8080'], deny: [https://old.test], days: 7, prompt: [" + ask + ", -c]}\n",
		"2.yaml": "consent: {deny: [https://evil.example]}\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	c := p.Consent
	for origin, want := range map[cardbroker.Origin]string{
		"https://a.example":    "allowed",
		"http://intranet:8080": "allowed",
		"https://evil.example": "denied", // deny beats allow
		"https://old.test":     "asked",  // a list replaces the whole list
		"https://b.test":       "asked",
	} {
		got := "asked"
		if c.Denies(origin) {
			got = "denied"
		} else if c.Allows(origin) {
			got = "allowed"
		}
		if got != want || c.Denies(origin) && c.Allows(origin) {
			t.Errorf("%s is %s, want %s", origin, got, want)
		}
	}
	const day = 24 * time.Hour
	for days, want := range map[int]time.Duration{0: 7 * day, 1: day, 365: 7 * day} {
		if got := c.Life(days); got != want {
			t.Errorf("Life(%d) = %v, want %v", days, got, want)
		}
	}
	if len(c.Prompt) != 2 || c.Prompt[0] != ask || c.Policy {
		t.Errorf("the policy is %+v", c)
	}
	if got := (config.Consent{}).Life(365); got != 30*day {
		t.Errorf("a consent lasts %v by default", got)
	}
}

// TestPolicyConsentUsersDeny: where users do not decide, what is not allowed is denied.
func TestPolicyConsentUsersDeny(t *testing.T) {
	p, err := config.LoadPolicy(policyDir(t, map[string]string{"1.yaml": "consent: {users: deny, allow: [https://a.example]}\n"}))
	if err != nil || p.Consent.Denies("https://a.example") || !p.Consent.Denies("https://b.example") {
		t.Errorf("the policy is %+v, %v", p.Consent, err)
	}
}

func TestPolicyConsentWrong(t *testing.T) {
	for text, want := range map[string]string{
		"allow: ['*']":                 "consent.allow: \"*\"",
		"allow: ['https://*']":         "consent.allow",
		"deny: [https://A.example]":    "consent.deny",
		"deny: [https://a.example/]":   "consent.deny",
		"days: 0":                      "want 1 to 365",
		"days: 366":                    "want 1 to 365",
		"users: allow":                 "want decide or deny",
		"prompt: [ask]":                "not an absolute path",
		"prompt: [/etc/passwd]":        "is not a program",
		"prompt: [/nowhere/cardask]":   "/nowhere",
		"prompts: [/usr/bin/zenity]":   "unknown field",
		"allow: https://one.example":   "allow",
		"days: many":                   "days",
		"allow: ['https://a.b:443']":   "consent.allow",
		"allow: ['https://*.a.b/x']":   "consent.allow",
		"allow: ['https://*.10.0.0']":  "consent.allow",
		"allow: ['javascript:void 0']": "consent.allow",
	} {
		_, err := config.LoadPolicy(policyDir(t, map[string]string{"1.yaml": "consent: {" + text + "}\n"}))
		if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
