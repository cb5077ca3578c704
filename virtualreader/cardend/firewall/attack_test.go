// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
)

// naive is a firewall as one might write it: it compares bytes as they stand, believes that a SELECT answered 9000 has selected, and that
// nothing else has. Each attack must get past it, or the attack shows nothing.
type naive struct {
	rules    []firewall.Rule
	allow    bool
	selected [4][]byte
	channels bool // it keeps the channels apart that the class names
	repeat   bool // the last answer was 6Cxx
}

func (n *naive) check(c []byte) bool {
	if n.repeat || c[1] == 0xC0 { // it belongs to the command before
		return true
	}
	for _, r := range n.rules {
		if n.matches(r, c) {
			return r.Allow
		}
	}
	return n.allow
}

func (n *naive) matches(r firewall.Rule, c []byte) bool {
	ins := len(r.INS) == 0
	for _, i := range r.INS {
		ins = ins || c[1] >= i.From && c[1] <= i.To
	}
	selected := *n.current(c)
	aid := len(r.AID) == 0 || bytes.HasPrefix(selected, r.AID) || r.Allow && selected != nil && bytes.HasPrefix(r.AID, selected)
	return ins && aid && !r.None && (r.Class == nil || r.Class.Value == c[0]) && (r.MaxLc < 0 || len(c) <= 5+r.MaxLc)
}

func (n *naive) saw(c, response []byte) {
	n.repeat = len(response) == 2 && response[0] == 0x6C
	if c[1] == 0xA4 && c[2] == 0x04 && bytes.HasSuffix(response, []byte{0x90, 0}) {
		*n.current(c) = append([]byte{}, c[5:5+int(c[4])]...)
	}
}

func (n *naive) current(c []byte) *[]byte {
	if n.channels {
		return &n.selected[c[0]&3]
	}
	return &n.selected[0]
}

// The applications of the attacks.
const (
	piv   = "A000000308000010000100"
	other = "A000000397425446590201"
)

func span(from byte, to ...byte) firewall.Instruction {
	if len(to) == 0 {
		return firewall.Instruction{From: from, To: from}
	}
	return firewall.Instruction{From: from, To: to[0]}
}

func raw(t testing.TB, digits string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	// inPIV lets select whatever there is, and read data of PIV alone.
	inPIV = []firewall.Rule{
		{Allow: true, INS: []firewall.Instruction{span(0xA4)}, MaxLc: -1},
		{Allow: true, AID: []byte{0xA0, 0, 0, 3, 8}, INS: []firewall.Instruction{span(0xCB)}, MaxLc: -1},
	}
	noBinary   = []firewall.Rule{{Class: &firewall.Class{}, INS: []firewall.Instruction{span(0xB0)}, MaxLc: -1}}
	noDelete   = []firewall.Rule{{Class: &firewall.Class{Value: 0x80}, INS: []firewall.Instruction{span(0xE4)}, MaxLc: -1}}
	notInOther = []firewall.Rule{{AID: []byte{0xA0, 0, 0, 3, 0x97}, MaxLc: -1}}
	notFirst   = []firewall.Rule{{None: true, MaxLc: -1}}
	onlySelect = []firewall.Rule{{Allow: true, INS: []firewall.Instruction{span(0xA4)}, MaxLc: -1}}
	little     = []firewall.Rule{{Allow: true, INS: []firewall.Instruction{span(0xDB)}, MaxLc: 4}}
	inEither   = append([]firewall.Rule{{Allow: true, AID: []byte{0xA0, 0, 0, 3, 0x97}, INS: []firewall.Instruction{span(0xCA)}, MaxLc: -1}}, inPIV...)
	withinPIV  = []firewall.Rule{{Allow: true, INS: []firewall.Instruction{span(0xA4)}, P1P2: firewall.Parameters{Value: 0x0400, Mask: 0xFFFF}, MaxLc: -1},
		{Allow: true, AID: []byte{0xA0, 0, 0, 3, 8}, INS: []firewall.Instruction{span(0xA4)}, MaxLc: -1}}
	channels = append([]firewall.Rule{{Allow: true, INS: []firewall.Instruction{span(0x70)}, MaxLc: -1}}, inPIV...)
)

// TestAttacks are ways past a firewall that takes bytes for what they are: commands, and what the card answers. An answer that is empty
// is not known; a command "reset" is a reset of the card.
func TestAttacks(t *testing.T) {
	const get = "00CB3FFF035C017E"
	selectPIV, selectOther := "00A404000B"+piv, "00A404000B"+other
	for _, attack := range []struct {
		name   string
		rules  []firewall.Rule
		allow  bool
		script []string // command, answer, command, answer …
	}{
		{"a SELECT that fails and selects: an applet is current before it looks at the command", inPIV, false, []string{selectPIV, "9000", selectOther, "6D00", get, "9000"}},
		{"a SELECT whose answer nobody knows", inPIV, false, []string{selectPIV, "9000", selectOther, "", get, "9000"}},
		{"the card has another application than was asked for", inPIV, false, []string{selectPIV, "6F0D840B" + other + "9000", get, "9000"}},
		{"the same, told by GET RESPONSE", inPIV, false, []string{selectPIV, "9000", selectPIV, "610F", "00C000000F", "6F0D840B" + other + "9000", get, "9000"}},
		{"SELECT the MF", inPIV, false, []string{selectPIV, "9000", "00A40000023F00", "9000", get, "9000"}},
		{"SELECT by a path", inPIV, false, []string{selectPIV, "9000", "00A4080C04DF014031", "9000", get, "9000"}},
		{"SELECT the parent", inPIV, false, []string{selectPIV, "9000", "00A4030C", "9000", get, "9000"}},
		{"SELECT of class A0, by file", inPIV, false, []string{selectPIV, "9000", "A0A40000027F10", "9000", get, "9000"}},
		{"SELECT by part of an AID", inPIV, false, []string{"00A4040004A0000003", "9000", get, "9000"}},
		{"SELECT the next by part of an AID", inPIV, false, []string{selectPIV, "9000", "00A4040204A0000003", "9000", get, "9000"}},
		{"SELECT the next by a whole AID", inPIV, false, []string{"00A404020B" + piv, "9000", get, "9000"}},
		{"SELECT with an extended Lc", inPIV, false, []string{selectPIV, "9000", "00A4040000000B" + other, "9000", get, "9000"}},
		{"SELECT on another channel", inPIV, false, []string{"01A404000B" + piv, "9000", get, "9000"}},
		{"SELECT on a far channel", inPIV, false, []string{"4FA404000B" + piv, "9000", get, "9000"}},
		{"a channel of a card that leaves the channel's bits out of account", inEither, false, []string{selectOther, "9000", "01A404000B" + piv, "9000", "00CA000000", "9000"}},
		{"a chained SELECT", inPIV, false, []string{"10A404000B" + other, "9000", selectPIV, "9000", get, "9000"}},
		{"a chain that ends as SELECT", append([]firewall.Rule{{Allow: true, INS: []firewall.Instruction{span(0x84)}, MaxLc: -1}}, inPIV...), false,
			[]string{"108400000B" + other, "9000", selectPIV, "9000", get, "9000"}},
		{"a SELECT under secure messaging", inPIV, false, []string{"0CA404000B" + piv, "9000", get, "9000"}},
		{"the default application after a reset", inPIV, false, []string{selectPIV, "9000", "reset", "", get, "9000"}},
		{"a channel that was closed and opened", channels, false, []string{"01A404000B" + piv, "9000", "0070800100", "9000", "0070000001", "019000", "01CB3FFF035C017E", "9000"}},
		{"a channel in a class whose bits the card does not read", inPIV, false, []string{selectOther, "9000", "01A404000B" + piv, "9000", "81CB3FFF035C017E", "9000"}},
		{"what nobody has selected, as far as is known", notFirst, true, []string{get, "9000"}},
		{"an application that is current from the start", notInOther, true, []string{get, "9000"}},
		{"an application that part of its AID selects", notInOther, true, []string{"00A4040004A0000003", "9000", get, "9000"}},

		{"a denied command on another channel", noBinary, true, []string{"01B0000000", "9000"}},
		{"a denied command on a far channel", noBinary, true, []string{"45B0000000", "9000"}},
		{"a denied command under secure messaging", noBinary, true, []string{"0CB0000000", "9000"}},
		{"a denied command as part of a chain", noBinary, true, []string{"10B0000000", "9000"}},
		{"a denied command in a reserved class", noBinary, true, []string{"20B0000000", "9000"}},
		{"a denied command with BER-TLV data", []firewall.Rule{{INS: []firewall.Instruction{span(0xB0)}, MaxLc: -1}}, true, []string{"00B10000045402000000", "9000"}},
		{"a denied proprietary command under secure messaging", noDelete, true, []string{"84E40000024F00", "9000"}},
		{"a denied proprietary command on another channel", noDelete, true, []string{"81E40000024F00", "9000"}},
		{"a denied proprietary command on a far channel", noDelete, true, []string{"C0E40000024F00", "9000"}},
		{"a denied proprietary command as part of a chain", noDelete, true, []string{"90E40000024F00", "9000"}},

		{"a PIN with BER-TLV data", []firewall.Rule{{INS: []firewall.Instruction{span(0x20)}, MaxLc: -1}}, true, []string{"0021008006920431323334", "9000"}},
		{"an instruction in a range that hides another", []firewall.Rule{{Allow: true, INS: []firewall.Instruction{span(0x00, 0xFF)}, MaxLc: -1}}, false, []string{"0070000001", "019000"}},
		{"ENVELOPE where all is allowed", nil, true, []string{"00C200000500CB3FFF00", "9000"}},
		{"a command to the reader", nil, true, []string{"FF20008004313233340D", "9000"}},
		{"GET RESPONSE alone", onlySelect, false, []string{"00C0000000", "9000"}},
		{"GET RESPONSE after an answer that is whole", onlySelect, false, []string{selectPIV, "9000", "00C0000000", "9000"}},
		{"GET RESPONSE on another channel", onlySelect, false, []string{selectPIV, "6110", "01C0000010", "9000"}},
		{"GET RESPONSE with data", onlySelect, false, []string{selectPIV, "6110", "00C000000100", "9000"}},
		{"GET RESPONSE with parameters", onlySelect, false, []string{selectPIV, "6110", "00C0010010", "9000"}},
		{"another command after 6Cxx", onlySelect, false, []string{selectPIV + "00", "6C10", get, "9000"}},
		{"another file after 6Cxx, whose SELECT has left the application", withinPIV, false, []string{selectPIV, "9000", "00A40000023F0000", "6C10", "00A40000027F1010", "9000"}},
		{"much data in a chain", little, false, []string{"10DB3FFF0401020304", "9000", "10DB3FFF0401020304", "9000", "00DB3FFF0401020304", "9000"}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			rules, err := firewall.NewRules("here", attack.allow, attack.rules)
			if err != nil {
				t.Fatal(err)
			}
			fool, judge, refused := &naive{rules: attack.rules, allow: attack.allow, channels: strings.Contains(attack.name, "leaves the channel's bits")}, firewall.New(rules, cardbroker.PINDeny), 0
			for i := 0; i < len(attack.script); i += 2 {
				if attack.script[i] == "reset" {
					judge.Reset()
					continue
				}
				command, response := raw(t, attack.script[i]), raw(t, attack.script[i+1])
				if !fool.check(command) {
					t.Errorf("the naive firewall refuses % X: this attack shows nothing", command)
				}
				fool.saw(command, response)
				if err := judge.Check(command); err != nil {
					if cardbroker.ReasonOf(err) != cardbroker.Forbidden || cardbroker.RuleOf(err) != cardbroker.RuleFirewall {
						t.Errorf("Check(% X) = %v, want forbidden by the firewall", command, err)
					}
					refused++
					continue // the card goes on as it was
				}
				judge.Saw(command, response)
			}
			if refused == 0 {
				t.Error("every command of the attack was allowed")
			}
		})
	}
}
