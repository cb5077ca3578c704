// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards_test

import (
	"testing"

	"github.com/cardbroker/cardbroker"
)

// TestFirstBackEnd: an agent that was killed may have left a PIN verified, its own or a module's. The first user of the next one, a back
// end or a program, does not find it.
func TestKilledAgentLeavesNothing(t *testing.T) {
	_, _, cfg := newBed(t)
	killed := runBeside(t, cfg)
	c := openCard(t, killed, pcscReader)
	say(t, c, selectPIV, good)
	say(t, c, verifyPIN, good)
	c.Close(cardbroker.LeaveCard)

	second := runBeside(t, cfg)
	c = openCard(t, second, pcscReader)
	say(t, c, selectPIV, good)
	say(t, c, askPIN, unproven)
	say(t, c, verifyPIN, good)
	c.Close(cardbroker.LeaveCard)

	turn := takeTurn(t, runBeside(t, cfg), pcscReader)
	say(t, turn, selectPIV, good)
	say(t, turn, askPIN, unproven)
	turn.Close(cardbroker.LeaveCard)
}
