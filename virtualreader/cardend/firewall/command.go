// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// The instructions that the firewall itself knows, ISO/IEC 7816-4 §11.
const (
	insVerify        = 0x20
	insManageChannel = 0x70
	insSelect        = 0xA4
	insGetResponse   = 0xC0
	insEnvelope      = 0xC2
)

// command is a command APDU as the firewall sees it.
type command struct {
	apdu.Command
	wraps bool        // it would take others past the firewall
	asked application // SELECT by name: what it asks for; unknown where the name is not known for certain
}

// parse reads a command of which the first bytes are known: those that follow may be any. Errors: Invalid, also where not
// even the header is known.
func parse(raw []byte, known int) (command, error) {
	parsed, err := apdu.ParseCommand(raw)
	if err != nil {
		return command{}, cardbroker.Wrapf(err, cardbroker.Invalid, "%v", err)
	}
	if known < apdu.MinCommand {
		return command{}, cardbroker.Errorf(cardbroker.Invalid, "of a command the header must be known")
	}
	c := command{Command: parsed, wraps: mayWrap(parsed.INS) != ""}
	if !c.byName() {
		return c, nil
	}
	lc := 1
	if c.Extended {
		lc = 3
	}
	c.asked = named(c.Data[:min(len(c.Data), max(0, known-apdu.MinCommand-lc))])
	return c, nil
}

// byName says that the command is SELECT by DF name, §11.2.2, of the first or only one, in clear and whole.
func (c *command) byName() bool {
	return c.INS == insSelect && c.P1 == 0x04 && !proprietary(c.CLA) && !secured(c.CLA) && !chained(c.CLA) && c.P2&0xF3 == 0
}

// staysInApplication says that the command is SELECT of an EF under the current DF, in clear and whole.
func (c *command) staysInApplication() bool {
	return c.INS == insSelect && c.P1 == 0x02 && !proprietary(c.CLA) && !secured(c.CLA) && !chained(c.CLA)
}

// asksForTries says whether a command is VERIFY without data: it asks whether a PIN is needed, and how often it may still be
// wrong, §11.6.6.
func (c *command) asksForTries() bool {
	return c.CLA == 0x00 && c.INS == insVerify && len(c.Data) == 0
}

// mayWrap says that a command would take others past the firewall, and returns its name: MANAGE CHANNEL (§11.1.2) opens
// channels of others, ENVELOPE (§11.8.2) wraps a command.
func mayWrap(ins byte) string {
	switch ins {
	case insManageChannel:
		return "MANAGE CHANNEL"
	case insEnvelope, insEnvelope | 1:
		return "ENVELOPE"
	}
	return ""
}
