// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
)

// judge judges a command of a tenant that policy says nothing of.
func judge(command []byte, mode cardbroker.PINMode) error {
	return firewall.New(nil, mode).Check(command)
}

// forbiddenINS is the default firewall as a table of its own.
var forbiddenINS = map[byte]string{
	0x20: "VERIFY", 0x21: "VERIFY",
	0x24: "CHANGE REFERENCE DATA", 0x25: "CHANGE REFERENCE DATA",
	0x26: "DISABLE VERIFICATION REQUIREMENT", 0x27: "DISABLE VERIFICATION REQUIREMENT",
	0x28: "ENABLE VERIFICATION REQUIREMENT", 0x29: "ENABLE VERIFICATION REQUIREMENT",
	0x2C: "RESET RETRY COUNTER", 0x2D: "RESET RETRY COUNTER",
	0x70: "MANAGE CHANNEL", 0xC2: "ENVELOPE", 0xC3: "ENVELOPE",
}

// TestFirewallJudgesByInstruction tries every class and instruction: plain, chained (10), secure messaging (04, 08, 0C),
// logical channels (01–03, 40–4F), proprietary (80). Class FF went through once: readers take it for a command of theirs,
// to verify a PIN by themselves for one.
func TestFirewallJudgesByInstruction(t *testing.T) {
	for cla := range 256 {
		for ins := range 256 {
			command := []byte{byte(cla), byte(ins), 0, 0x81, 4, '1', '2', '3', '4'}
			err := judge(command, cardbroker.PINDeny)
			name, forbidden := forbiddenINS[byte(ins)]
			if cla == 0xFF {
				name, forbidden = "a command to the reader itself", true
			}
			if !forbidden {
				if err != nil {
					t.Errorf("judge(% X) = %v, want nil", command, err)
				}
				continue
			}
			if cardbroker.ReasonOf(err) != cardbroker.Forbidden || cardbroker.RuleOf(err) != cardbroker.RuleFirewall ||
				!strings.Contains(err.Error(), name+" is not allowed") || strings.Contains(err.Error(), "1234") {
				t.Errorf("judge(% X) = %v, want a refusal of %s without its data", command, err, name)
			}
		}
	}
}

func TestFirewallForms(t *testing.T) {
	tests := []struct {
		name    string
		command []byte
		want    cardbroker.Reason
	}{
		{"case 1", []byte{0, 0x84, 0, 0}, ""},
		{"case 2", []byte{0, 0x84, 0, 0, 8}, ""},
		{"case 4", []byte{0, 0xA4, 4, 0, 2, 0xA0, 0, 0}, ""},
		{"extended", []byte{0, 0xCB, 0x3F, 0xFF, 0, 0, 1, 0x5C, 0, 0}, ""},
		{"VERIFY asking for the tries left", []byte{0, 0x20, 0, 1}, cardbroker.Forbidden},
		{"VERIFY, extended", []byte{0, 0x20, 0, 1, 0, 0, 1, '1'}, cardbroker.Forbidden},
		{"nothing", nil, cardbroker.Invalid},
		{"a short header", []byte{0, 0x20, 0}, cardbroker.Invalid},
		{"data cut", []byte{0, 0xA4, 4, 0, 3, 0xA0}, cardbroker.Invalid},
		{"two commands at once", []byte{0, 0xA4, 4, 0, 2, 0xA0, 0, 0, 0x20, 0, 1, 1, '1'}, cardbroker.Invalid},
		{"too long", append([]byte{0, 0xDA, 0, 0, 0, 0xFF, 0xFF}, make([]byte, 65535+3)...), cardbroker.Invalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := judge(test.command, cardbroker.PINDeny); cardbroker.ReasonOf(err) != test.want {
				t.Errorf("judge(% X) = %v, want %q", test.command[:min(len(test.command), 16)], err, test.want)
			}
		})
	}
}

// TestFirewallModes: where the user enters PINs himself a back end may ask for the tries left and no more; one that may
// send PINs still may not go past the firewall.
func TestFirewallModes(t *testing.T) {
	pin := "\x08\x31\x32\x33\x34\x35\x36\xFF\xFF"
	for _, test := range []struct {
		name, command      string
		agent, passthrough bool
	}{
		{"SELECT", "\x00\xA4\x04\x00", true, true},
		{"VERIFY asking for the tries left", "\x00\x20\x00\x80", true, true},
		{"the same with Le", "\x00\x20\x00\x80\x00", true, true},
		{"VERIFY", "\x00\x20\x00\x80" + pin, false, true},
		{"VERIFY, chained", "\x10\x20\x00\x80" + pin, false, true},
		{"VERIFY, chained, empty", "\x10\x20\x00\x80", false, true},
		{"VERIFY, secure messaging, empty", "\x0C\x20\x00\x80", false, true},
		{"VERIFY, proprietary, empty", "\x80\x20\x00\x80", false, true},
		{"VERIFY with TLV, empty", "\x00\x21\x00\x80", false, true},
		{"CHANGE REFERENCE DATA", "\x00\x24\x00\x80" + pin, false, true},
		{"CHANGE REFERENCE DATA, empty", "\x00\x24\x00\x80", false, true},
		{"RESET RETRY COUNTER", "\x00\x2C\x00\x80" + pin, false, true},
		{"RESET RETRY COUNTER, empty", "\x00\x2C\x03\x80", false, true},
		{"DISABLE VERIFICATION REQUIREMENT", "\x00\x26\x00\x80" + pin, false, true},
		{"MANAGE CHANNEL", "\x00\x70\x00\x00\x01", false, false},
		{"ENVELOPE", "\x00\xC2\x00\x00" + pin, false, false},
		{"VERIFY by the reader", "\xFF\x20\x00\x80" + pin, false, false},
		{"VERIFY by the reader, empty", "\xFF\x20\x00\x80", false, false},
	} {
		for mode, want := range map[cardbroker.PINMode]bool{cardbroker.PINAgent: test.agent, cardbroker.PINPassthrough: test.passthrough, 9: false} {
			if mode == 9 {
				want = test.name == "SELECT"
			}
			if err := judge([]byte(test.command), mode); (err == nil) != want || err != nil && cardbroker.ReasonOf(err) != cardbroker.Forbidden {
				t.Errorf("%s: judge in mode %v = %v, want passed: %v", test.name, mode, err, want)
			}
		}
	}
	err := judge([]byte("\x00\x20\x00\x80"+pin), cardbroker.PINAgent)
	if err == nil || !strings.Contains(err.Error(), "pin pad") || strings.Contains(err.Error(), "123") {
		t.Errorf("judge = %v, want a word of the pin pad and none of the PIN", err)
	}
}

func TestFirewallAllocatesNothing(t *testing.T) {
	command := []byte{0, 0xA4, 4, 0, 2, 0xA0, 0, 0}
	j := firewall.New(nil, cardbroker.PINDeny)
	if n := testing.AllocsPerRun(100, func() { j.Check(command) }); n != 0 {
		t.Errorf("Check allocates %v times, want 0", n)
	}
}

// FuzzFirewall holds that nothing passes but a command to the card that parses and whose instruction is allowed, and that
// a refusal shows nothing of the data.
func FuzzFirewall(f *testing.F) {
	f.Add([]byte{0, 0x20, 0, 1, 4, '1', '2', '3', '4'})
	f.Add([]byte{0x0C, 0x20, 0, 1, 4, '1', '2', '3', '4', 0})
	f.Add([]byte{0, 0xA4, 4, 0})
	f.Add([]byte{0x90, 0xC2, 0, 0, 0, 0, 1, 0x20})
	f.Add([]byte{0xFF, 0xCA, 0, 0, 0})
	f.Fuzz(func(t *testing.T, command []byte) {
		err := judge(command, cardbroker.PINDeny)
		c, parseErr := apdu.ParseCommand(command)
		_, forbidden := forbiddenINS[c.INS]
		if (err == nil) != (parseErr == nil && !forbidden && c.CLA != 0xFF) {
			t.Errorf("judge(% X) = %v, of a command that parses with %v", command, err, parseErr)
		}
		empty := parseErr == nil && c.CLA == 0 && c.INS == 0x20 && len(c.Data) == 0
		if pad := judge(command, cardbroker.PINAgent); (pad == nil) != (err == nil || empty) {
			t.Errorf("judge(% X) = %v where there is a pin pad, %v without", command, pad, err)
		}
		if err == nil || parseErr != nil {
			return
		}
		other := c
		other.Data = bytes.Repeat([]byte{0xEE}, len(c.Data))
		if again, _ := other.Append(nil); judge(again, cardbroker.PINDeny).Error() != err.Error() {
			t.Errorf("judge(% X) = %v, which depends on the data", command, err)
		}
	})
}
