// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"testing"

	"github.com/cardbroker/cardbroker"
)

func TestDurability(t *testing.T) {
	for _, text := range []string{"none", "crash", "power"} {
		if d, err := cardbroker.ParseDurability(text); err != nil || d.String() != text {
			t.Errorf("ParseDurability(%q) = %v, %v", text, d, err)
		}
	}
	if _, err := cardbroker.ParseDurability("disk"); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("ParseDurability(disk) = %v, want invalid", err)
	}
}
