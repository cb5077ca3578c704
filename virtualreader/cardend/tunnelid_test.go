// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

// TestParseTunnelID has ids as they come in from outside. One that was too long was once read past its end, which ended
// the agent.
func TestParseTunnelID(t *testing.T) {
	good := "00112233445566778899aabbccddeeff"
	if id, err := cardend.ParseTunnelID(good); err != nil || id.String() != good {
		t.Errorf("ParseTunnelID(%q) = %s, %v", good, id, err)
	}
	for _, text := range []string{"", "00", good[:30], good[:31], good + "0", good + "00", strings.Repeat(good, 4), "zz" + good[2:]} {
		if id, err := cardend.ParseTunnelID(text); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("ParseTunnelID(%q) = %s, %v, want %s", text, id, err, cardbroker.Invalid)
		}
	}
}
