// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu_test

import (
	"testing"

	"github.com/cardbroker/cardbroker/apdu"
)

func TestPINCommand(t *testing.T) {
	pin := map[byte]string{
		0x20: "VERIFY", 0x21: "VERIFY",
		0x24: "CHANGE REFERENCE DATA", 0x25: "CHANGE REFERENCE DATA",
		0x26: "DISABLE VERIFICATION REQUIREMENT", 0x27: "DISABLE VERIFICATION REQUIREMENT",
		0x28: "ENABLE VERIFICATION REQUIREMENT", 0x29: "ENABLE VERIFICATION REQUIREMENT",
		0x2C: "RESET RETRY COUNTER", 0x2D: "RESET RETRY COUNTER",
	}
	for ins := range 256 {
		if got, want := apdu.PINCommand(byte(ins)), pin[byte(ins)]; got != want {
			t.Errorf("PINCommand(%02X) = %q, want %q", ins, got, want)
		}
	}
}

// TestInstructionName: whatever carries a PIN has the name that it has there, and every code has one.
func TestInstructionName(t *testing.T) {
	for ins := range 256 {
		name, pin := apdu.InstructionName(byte(ins)), apdu.PINCommand(byte(ins))
		if name == "" || pin != "" && name != pin {
			t.Errorf("InstructionName(%02X) = %q, PINCommand says %q", ins, name, pin)
		}
	}
	for ins, want := range map[byte]string{0xA4: "SELECT", 0xCB: "GET DATA", 0xC3: "ENVELOPE", 0x5A: "the instruction 5A"} {
		if got := apdu.InstructionName(ins); got != want {
			t.Errorf("InstructionName(%02X) = %q, want %q", ins, got, want)
		}
	}
}
