// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// judge says whether a command may go to the card: none that carries a PIN unless the mode lets it pass, none that would
// take others past this, and none that is for the reader itself, which is class FF (PC/SC Part 3 §3.2; ISO/IEC 7816-4 §5.4.1
// gives it to no card). Otherwise it looks at the instruction byte, whatever the class: a chained command, one under secure
// messaging and one on another logical channel are judged alike. A malformed command is Invalid: a card may read it
// otherwise than we do. Errors name the command and show nothing of its data.
func judge(command []byte, mode cardbroker.PINMode) error {
	c, err := apdu.ParseCommand(command)
	if err != nil {
		return cardbroker.Wrapf(err, cardbroker.Invalid, "%v", err)
	}
	name, how := channelCommand(c.INS), "through a tunnel"
	if name == "" && mode != cardbroker.PINPassthrough {
		name = apdu.PINCommand(c.INS)
		if mode == cardbroker.PINAgent {
			how = "with a PIN: the user enters it on the reader's pin pad"
			if asksForTries(c) {
				name = ""
			}
		}
	}
	if c.CLA == 0xFF {
		name, how = "a command to the reader itself", "through a tunnel"
	}
	if name != "" {
		return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, "%s is not allowed %s", name, how)
	}
	return nil
}

// asksForTries says whether a command is VERIFY without data: it asks whether a PIN is needed, and how often it may still be
// wrong, ISO/IEC 7816-4 §11.6.6.
func asksForTries(c apdu.Command) bool {
	return c.CLA == 0x00 && c.INS == 0x20 && len(c.Data) == 0
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
