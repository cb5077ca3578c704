// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// CheckPage says whether a web page of the card's user may send a command: one that carries a PIN, or may hide one, it may not, whatever the
// class. within says that the command before was not the last of its chain, and so does open of this one. VERIFY that asks for the tries left
// may be sent, but not into a chain, whose data a careless card would take for the PIN. Errors: Forbidden with RulePagePIN, which shows nothing of
// the command's data; Invalid as of [Judge.Check].
func CheckPage(raw []byte, within bool) (open bool, err error) {
	c, err := parse(raw, len(raw))
	if err != nil {
		return within, err
	}
	name := apdu.PINCommand(c.INS)
	switch {
	case c.CLA == classReaders:
		name = "a command to the reader itself"
	case c.INS|1 == insEnvelope|1:
		name = "ENVELOPE"
	case name == "", c.asksForTries() && !within:
		return chained(c.CLA), nil
	}
	return within, cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RulePagePIN, "a web page may not send %s: the user enters his PIN himself", name)
}
