// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package config_test

import (
	"slices"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
)

func TestStanding(t *testing.T) {
	for _, test := range []struct {
		pattern, reader string
		want            bool
	}{
		{"Reader 0", "Reader 0", true},
		{"Reader 0", "Reader 00", false},
		{"Reader 0", "A Reader 0", false},
		{"*", "anything [CCID] 00 00", true},
		{"ACS*[CCID]*", "ACS ACR39U [CCID] (7) 00 00", true},
		{"ACS*00", "ACS ACR39U 00 00", true},
		{"ACS*00*00", "ACS 00", false},
		{"*00", "00", true},
		{"A*A", "A", false},
		{"[A-Z]*", "Reader", false},
	} {
		tenant := config.TenantPolicy{Standing: []string{"never", test.pattern}}
		if got := tenant.Stands(test.reader); got != test.want {
			t.Errorf("%q stands for %q = %v, want %v", test.pattern, test.reader, got, test.want)
		}
	}
}

func TestTenantPolicy(t *testing.T) {
	p, err := config.LoadPolicy(policyDir(t, map[string]string{
		"1.yaml": "tenants:\n  acme:\n    origins: [https://app.example, 'https://app.example:8443']\n    standing: [Station *]\n  other:\n    standing: ['*']\n",
		"2.yaml": "tenants:\n  acme:\n    pin: passthrough\n  other:\n    standing: []\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	acme := p.Tenant("acme")
	if want := []cardbroker.Origin{"https://app.example", "https://app.example:8443"}; !slices.Equal(acme.Origins, want) {
		t.Errorf("origins = %q, want %q", acme.Origins, want)
	}
	if !acme.Stands("Station 1") || acme.PIN != cardbroker.PINPassthrough {
		t.Errorf("the second file took away what the first says: %+v", acme)
	}
	if got := p.Standing(); !slices.Equal(got, []cardbroker.Tenant{"acme"}) {
		t.Errorf("Standing = %v, want [acme]", got)
	}
}

// TestLeaseMax reads the limit for leases.
func TestLeaseMax(t *testing.T) {
	for text, want := range map[string]time.Duration{"2h": 2 * time.Hour, "90s": 90 * time.Second, "0s": 0, "-1h": 0, "long": 0, "500ms": 0} {
		p, err := config.LoadPolicy(policyDir(t, map[string]string{"1.yaml": "tenants:\n  acme: {lease_max: " + text + "}\n"}))
		if got := p.Tenant("acme").LeaseMax; want == 0 && cardbroker.ReasonOf(err) != cardbroker.Invalid || want != 0 && (err != nil || got != want) {
			t.Errorf("lease_max: %s = %v, %v, want %v", text, got, err, want)
		}
	}
}
