// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall_test

import (
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
)

// TestPageJudgedByInstruction tries every class and instruction, as TestFirewallJudgesByInstruction does for back ends; MANAGE CHANNEL
// is no way to hide a PIN.
func TestPageJudgedByInstruction(t *testing.T) {
	for cla := range 256 {
		for ins := range 256 {
			command := []byte{byte(cla), byte(ins), 0, 0x81, 4, '1', '2', '3', '4'}
			_, err := firewall.CheckPage(command, false)
			_, forbidden := forbiddenINS[byte(ins)]
			forbidden = forbidden && ins != 0x70 || cla == 0xFF
			if (err != nil) != forbidden || forbidden && cardbroker.RuleOf(err) != cardbroker.RulePagePIN || forbidden && strings.Contains(err.Error(), "1234") {
				t.Fatalf("CheckPage(% X) = %v, want a refusal: %v", command, err, forbidden)
			}
		}
	}
}

// TestPageChains: a VERIFY without data asks for the tries left, but not at the end of a chain, where it would take what came before for its
// data.
func TestPageChains(t *testing.T) {
	for _, test := range []struct{ name, commands string }{
		{"asks", "00200080"},
		{"asks with Le", "0020008000"},
		{"asks after another", "00A4040000 00200080"},
		{"*asks within a chain", "10CB3FFF0431323334 00200080"},
		{"*asks after a link of a chain", "10DB3FFF0131 10DB3FFF0131 00200080"},
		{"asks after a chain", "10DB3FFF0131 00DB3FFF0131 00200080"},
		{"*asks in another class", "80200080"},
		{"*asks on another channel", "01200080"},
		{"*asks under secure messaging", "0C200080"},
		{"*asks of the odd code", "00210080"},
		{"*changes", "00240080"},
		{"*hides it", "00C20000050020008000"},
		{"*extended", "0020008000000431323334"},
	} {
		refusals := 0
		chain := false
		for _, text := range strings.Fields(test.commands) {
			var err error
			if chain, err = firewall.CheckPage(raw(t, text), chain); err != nil {
				refusals++
			}
		}
		if want := strings.HasPrefix(test.name, "*"); (refusals == 1) != want {
			t.Errorf("%s: %d refusals", test.name, refusals)
		}
	}
	if _, err := firewall.CheckPage([]byte{0, 0x20}, false); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("CheckPage of half a header = %v", err)
	}
}
