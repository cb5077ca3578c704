// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"net/netip"
	"testing"
)

func TestMachine(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7":            "192.0.2.7",
		"127.0.0.1":            "127.0.0.1",
		"127.200.1.9":          "127.0.0.1",
		"::1":                  "127.0.0.1",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"fe80::1%eth0":         "fe80::/64",
	} {
		if got := machine(netip.MustParseAddr(address)); got != want {
			t.Errorf("machine(%s) = %s, want %s", address, got, want)
		}
	}
}
