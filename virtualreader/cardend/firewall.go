// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// Policy is what a tenant may do through a tunnel. The zero value is the default.
type Policy struct {
	PIN PINMode
}

// PINMode says what happens to commands that carry a PIN.
type PINMode uint8

// The PIN modes.
const (
	PINDeny PINMode = iota // they are refused
)

// judge says whether a command may go to the card. It looks at the instruction byte, whatever the class: a chained
// command, one under secure messaging and one on another logical channel are judged alike. A malformed command is Invalid:
// a card may read it otherwise than we do. Errors name the command and show nothing of its data.
func (p Policy) judge(command []byte) error {
	c, err := apdu.ParseCommand(command)
	if err != nil {
		return cardbroker.Wrapf(err, cardbroker.Invalid, "%v", err)
	}
	name := channelCommand(c.INS)
	if p.PIN == PINDeny && name == "" {
		name = apdu.PINCommand(c.INS)
	}
	if name != "" {
		return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall,
			"%s is not allowed through a tunnel for this tenant", name)
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
