// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"testing"

	"github.com/cardbroker/cardbroker"
)

func TestPINMode(t *testing.T) {
	for text, want := range map[string]cardbroker.PINMode{
		"deny": cardbroker.PINDeny, "agent": cardbroker.PINAgent, "passthrough": cardbroker.PINPassthrough,
	} {
		if got, err := cardbroker.ParsePINMode(text); err != nil || got != want || got.String() != text {
			t.Errorf("ParsePINMode(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "Agent", "allow", "unknown", "agent "} {
		if got, err := cardbroker.ParsePINMode(text); cardbroker.ReasonOf(err) != cardbroker.Invalid || got != cardbroker.PINDeny {
			t.Errorf("ParsePINMode(%q) = %v, %v, want deny and %s", text, got, err, cardbroker.Invalid)
		}
	}
	var zero cardbroker.PINMode
	if zero != cardbroker.PINDeny || cardbroker.PINMode(9).String() != "unknown" {
		t.Errorf("the zero mode is %v, mode 9 is %v", zero, cardbroker.PINMode(9))
	}
}
