// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// judge says whether a command may go to the card: none that carries a PIN, none that would take others past this, and
// none that is for the reader itself, which is class FF (PC/SC Part 3 §3.2; ISO/IEC 7816-4 §5.4.1 gives it to no card).
// Otherwise it looks at the instruction byte, whatever the class: a chained command, one under secure messaging and one on
// another logical channel are judged alike. A malformed command is Invalid: a card may read it otherwise than we do.
// Errors name the command and show nothing of its data.
func judge(command []byte) error {
	c, err := apdu.ParseCommand(command)
	if err != nil {
		return cardbroker.Wrapf(err, cardbroker.Invalid, "%v", err)
	}
	name := channelCommand(c.INS)
	if name == "" {
		name = apdu.PINCommand(c.INS)
	}
	if c.CLA == 0xFF {
		name = "a command to the reader itself"
	}
	if name != "" {
		return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, "%s is not allowed through a tunnel", name)
	}
	return nil
}

// channelCommand returns the name of an instruction that would take other commands past the firewall, or "": MANAGE
// CHANNEL (ISO/IEC 7816-4 §11.1.2) opens channels of others, ENVELOPE (§11.8.2) wraps a command.
func channelCommand(ins byte) string {
	switch ins {
	case 0x70:
		return "MANAGE CHANNEL"
	case 0xC2, 0xC3:
		return "ENVELOPE"
	}
	return ""
}
