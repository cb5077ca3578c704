// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/config"
)

// TestStandNamesItsPort has an agent stand where the others could not find it, or with no ports.
func TestStandNamesItsPort(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:0":   "want a port",
		"0.0.0.0:51983": "want 127.0.0.1:PORT",
		"51983":         "want 127.0.0.1:PORT",
	} {
		_, _, err := stand(t.Context(), agent.Config{State: t.TempDir(), Log: quiet}, config.Elect{Listen: listen, Ports: "24800"}, client.NewBroker(client.BrokerConfig{}))
		if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("elect.listen %s: %v, want invalid: %s", listen, err, want)
		}
	}
	_, _, err := stand(t.Context(), agent.Config{State: t.TempDir(), Log: quiet}, config.Elect{Listen: "127.0.0.1:51983", Ports: "2-1"}, client.NewBroker(client.BrokerConfig{}))
	if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), "elect.ports") {
		t.Errorf("elect.ports 2-1: %v", err)
	}
}
