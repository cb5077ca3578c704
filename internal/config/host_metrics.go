// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"

	"github.com/cardbroker/cardbroker"
)

// Metrics is how Prometheus reads the broker's metrics.
type Metrics struct {
	Listen string   `yaml:"listen"` // 127.0.0.1:PORT, on [::1] too; empty: the local socket alone
	Users  []string `yaml:"users"`  // names of the system, besides those who may administer the broker
}

// Port returns the port of Listen, which was checked.
func (m Metrics) Port() cardbroker.Port {
	return cardbroker.Port(netip.MustParseAddrPort(m.Listen).Port())
}

func (m Metrics) check() error {
	if m.Listen == "" {
		if len(m.Users) > 0 {
			return cardbroker.Errorf(cardbroker.Invalid, "metrics: users are named, but there is no listen: who asks over the local socket is an administrator")
		}
		return nil
	}
	if end, err := netip.ParseAddrPort(m.Listen); err != nil || !end.Addr().IsLoopback() {
		return cardbroker.Errorf(cardbroker.Invalid, "metrics: listen is %q, want 127.0.0.1:PORT", m.Listen)
	}
	return nil
}
