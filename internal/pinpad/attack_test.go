// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pinpad_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/internal/pinpad"
)

// TestVerifyAttacks: a back end makes the template, and would have the PIN put where it can read it, or learn it by and by.
func TestVerifyAttacks(t *testing.T) {
	piv := func(command string) verify { return verify{0, 0x82, 0x08, 0, 4, 8, command} }
	data := "08FFFFFFFFFFFFFFFF"
	for _, test := range []struct {
		name string
		v    verify
		want cardbroker.Reason
	}{
		{"into a file: UPDATE BINARY", piv("00D60000" + data), cardbroker.Forbidden},
		{"into a file: WRITE BINARY", piv("00D00000" + data), cardbroker.Forbidden},
		{"into a record: UPDATE RECORD", piv("00DC0104" + data), cardbroker.Forbidden},
		{"into an object: PUT DATA", piv("00DB3FFF" + data), cardbroker.Forbidden},
		{"into a name: SELECT", piv("00A40400" + data), cardbroker.Forbidden},
		{"into an answer: INTERNAL AUTHENTICATE", piv("00880000" + data), cardbroker.Forbidden},
		{"into an answer: GENERAL AUTHENTICATE", piv("0087079A" + data), cardbroker.Forbidden},
		{"into an answer: PSO hash", piv("002A9080" + data), cardbroker.Forbidden},
		{"wrapped: ENVELOPE", piv("00C20000" + data), cardbroker.Forbidden},
		{"on another channel: MANAGE CHANNEL", piv("00700000" + data), cardbroker.Forbidden},
		{"VERIFY with TLV", piv("00210080" + data), cardbroker.Forbidden},
		{"CHANGE REFERENCE DATA by the wrong door", piv("00240080" + data), cardbroker.Forbidden},
		{"RESET RETRY COUNTER by the wrong door", piv("002C0080" + data), cardbroker.Forbidden},
		{"ENABLE VERIFICATION REQUIREMENT", piv("00280080" + data), cardbroker.Forbidden},
		{"DISABLE VERIFICATION REQUIREMENT", piv("00260080" + data), cardbroker.Forbidden},
		{"the reader's own class", piv("FF200080" + data), cardbroker.Forbidden},
		{"a chain that goes on", piv("10200080" + data), cardbroker.Forbidden},
		{"secure messaging", piv("0C200080" + data), cardbroker.Forbidden},
		{"secure messaging, proprietary", piv("04200080" + data), cardbroker.Forbidden},
		{"another channel", piv("01200080" + data), cardbroker.Forbidden},
		{"a further channel", piv("40200080" + data), cardbroker.Forbidden},
		{"a meaning of an applet's own", piv("80200080" + data), cardbroker.Forbidden},
		{"a telephone's class", piv("A0200001" + data), cardbroker.Forbidden},
		{"P1 of no meaning", piv("00200180" + data), cardbroker.Forbidden},
		{"P1 FF", piv("0020FF80" + data), cardbroker.Forbidden},
		{"extended", piv("00200080000008FFFFFFFFFFFFFFFF"), cardbroker.Forbidden},
		{"a second command behind", piv("00200080" + data + "00D6000000"), cardbroker.Forbidden},
		{"an answer wanted", piv("00200080" + data + "00"), cardbroker.Forbidden},
		{"Lc too long", piv("0020008009FFFFFFFFFFFFFFFF"), cardbroker.Forbidden},
		{"Lc too short", piv("0020008007FFFFFFFFFFFFFFFF"), cardbroker.Forbidden},
		{"more than a short command", piv("00200080FF" + strings.Repeat("FF", 256)), cardbroker.Forbidden},
		{"half a header", piv("002000"), cardbroker.Invalid},
		{"no command", piv(""), cardbroker.Invalid},
		{"behind the data", verify{0, 0x82 | 8<<3, 8, 0, 4, 8, pivVerify}, cardbroker.Forbidden},
		{"partly behind the data", verify{0, 0x82 | 6<<3, 8, 0, 4, 8, pivVerify}, cardbroker.Forbidden},
		{"a block to the right of what is there", verify{0, 0x86, 9, 0, 4, 8, pivVerify}, cardbroker.Forbidden},
		{"a block that is too small", verify{0, 0x82, 3, 0, 4, 8, pivVerify}, cardbroker.Forbidden},
		{"variable, behind nothing", verify{0, 0x8A, 0, 0, 4, 8, "00200080"}, cardbroker.Forbidden},
		{"variable, with a block", verify{0, 0x82, 8, 0, 4, 8, "0020008000"}, cardbroker.Forbidden},
		{"variable, BCD", verify{0, 0x81, 0, 0, 4, 8, "00200080"}, cardbroker.Forbidden},
		{"variable, with a length", verify{0, 0x82, 0x80, 0x10, 4, 8, "00200080"}, cardbroker.Forbidden},
		{"the length over the PIN", verify{0, 0x89, 0x47, 0x08, 4, 12, eidVerify}, cardbroker.Forbidden},
		{"the length behind the data", verify{0, 0x89, 0x46, 0x1F, 4, 12, eidVerify}, cardbroker.Forbidden},
		{"a length of too few bits", verify{0, 0x89, 0x27, 0x04, 4, 12, eidVerify}, cardbroker.Forbidden},
		{"digits guessed before the PIN", verify{0, 0x82 | 4<<3, 4, 0, 4, 8, "002000800831323334FFFFFFFF"}, cardbroker.Forbidden},
		{"digits guessed behind the PIN", verify{0, 0x82, 8, 0, 4, 8, "0020008008FFFFFFFF35363738"}, cardbroker.Forbidden},
		{"digits guessed, BCD", verify{0, 0x81, 0, 0, 4, 8, "0020008004FFFF5678"}, cardbroker.Forbidden},
		{"a control byte in a PIN's place", verify{0, 0x81, 0, 0, 4, 8, "0020008004FFFF2525"}, cardbroker.Forbidden},
		{"one digit at a time", verify{0, 0x82, 8, 0, 1, 1, pivVerify}, cardbroker.Forbidden},
		{"three digits", verify{0, 0x82, 8, 0, 0, 3, pivVerify}, cardbroker.Forbidden},
		{"no digit", verify{0, 0x82, 8, 0, 0, 0, pivVerify}, cardbroker.Invalid},
		{"more at least than at most", verify{0, 0x82, 8, 0, 8, 4, pivVerify}, cardbroker.Invalid},
		{"an encoding that is none", verify{0, 0x83, 8, 0, 4, 8, pivVerify}, cardbroker.Invalid},
		{"reserved bits", verify{0, 0x82, 8, 0x20, 4, 8, pivVerify}, cardbroker.Invalid},
		{"in the middle of a byte", verify{0, 0x02 | 4<<3, 8, 0, 4, 8, pivVerify}, cardbroker.Invalid},
		{"to the right of nothing", verify{0, 0x86, 0, 0, 4, 8, pivVerify}, cardbroker.Invalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused(t, test.want, func() (*pinpad.Entry, error) { return pinpad.ParseVerify(test.v.bytes(t)) })
		})
	}
}

func refused(t *testing.T, want cardbroker.Reason, parse func() (*pinpad.Entry, error)) {
	t.Helper()
	e, err := parse()
	if cardbroker.ReasonOf(err) != want {
		t.Fatalf("= %+v, %v, want %s", e, err, want)
	}
	if want == cardbroker.Forbidden && cardbroker.RuleOf(err) != cardbroker.RuleFirewall {
		t.Errorf("%v names the rule %q, want %q", err, cardbroker.RuleOf(err), cardbroker.RuleFirewall)
	}
}

func TestModifyAttacks(t *testing.T) {
	piv := func(command string) verify { return verify{0, 0x82, 0x08, 0, 4, 8, command} }
	known := "10" + "3132333435363738" + "FFFFFFFFFFFFFFFF"
	for _, test := range []struct {
		name string
		m    modify
		want cardbroker.Reason
	}{
		{"VERIFY by the wrong door", modify{piv("00200080" + pivChange[8:]), 0, 8, 3}, cardbroker.Forbidden},
		{"CHANGE REFERENCE DATA with TLV", modify{piv("00250080" + pivChange[8:]), 0, 8, 3}, cardbroker.Forbidden},
		{"RESET RETRY COUNTER with TLV", modify{piv("002D0080" + pivChange[8:]), 0, 8, 3}, cardbroker.Forbidden},
		{"into a file", modify{piv("00D60000" + pivChange[8:]), 0, 8, 3}, cardbroker.Forbidden},
		{"a chain that goes on", modify{piv("10240080" + pivChange[8:]), 0, 8, 3}, cardbroker.Forbidden},
		{"the new one first", modify{piv(pivChange), 8, 0, 3}, cardbroker.Forbidden},
		{"both in one place", modify{piv(pivChange), 0, 0, 3}, cardbroker.Forbidden},
		{"over each other", modify{piv(pivChange), 0, 3, 3}, cardbroker.Forbidden},
		{"the new one behind the data", modify{piv(pivChange), 0, 16, 3}, cardbroker.Forbidden},
		{"the present one into the new one's part", modify{piv(pivChange), 9, 8, 3}, cardbroker.Forbidden},
		{"nobody gives the present one", modify{piv("0024008008FFFFFFFFFFFFFFFF"), 0, 0, 1}, cardbroker.Forbidden},
		{"nobody gives the present one, variable", modify{verify{0, 0x82, 0, 0, 4, 8, "00240080"}, 0, 0, 1}, cardbroker.Forbidden},
		{"the present one as part of the new one", modify{piv("00240180" + pivChange[8:]), 0, 8, 3}, cardbroker.Forbidden},
		{"P1 of the other command", modify{piv("00240280" + pivChange[8:]), 0, 8, 1}, cardbroker.Forbidden},
		{"only a code that unblocks", modify{piv("002C0180" + pivChange[8:]), 0, 8, 3}, cardbroker.Forbidden},
		{"digits before the first PIN of a card", modify{piv("00240180" + known), 0, 8, 1}, cardbroker.Forbidden},
		{"digits behind the new one", modify{verify{0, 0x82, 4, 0, 4, 4, "0024008010FFFFFFFFFFFFFFFFFFFFFFFF35363738"}, 0, 8, 3}, cardbroker.Forbidden},
		{"digits in the new one's block", modify{piv("002C0080104142434445464748FFFFFFFF35363738"), 0, 8, 1}, cardbroker.Forbidden},
		{"digits in the place of both", modify{piv("00240080" + known), 0, 8, 3}, cardbroker.Forbidden},
		{"the length over the new one", modify{verify{0, 0x8A, 0x87, 0x18, 4, 7, pivChange}, 0, 8, 3}, cardbroker.Forbidden},
		{"one digit", modify{verify{0, 0x82, 8, 0, 1, 1, pivChange}, 0, 8, 3}, cardbroker.Forbidden},
		{"bits of no meaning", modify{piv(pivChange), 0, 8, 4}, cardbroker.Invalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused(t, test.want, func() (*pinpad.Entry, error) { return pinpad.ParseModify(test.m.bytes(t)) })
		})
	}
}

// TestEveryInstruction tries every class and instruction: a PIN goes into three commands.
func TestEveryInstruction(t *testing.T) {
	vp := verify{0, 0x82, 0x08, 0, 4, 8, pivVerify}.bytes(t)
	mp := modify{verify{0, 0x82, 0x08, 0, 4, 8, pivChange}, 0, 8, 3}.bytes(t)
	for cla := range 256 {
		for ins := range 256 {
			vp[19], vp[20], mp[24], mp[25] = byte(cla), byte(ins), byte(cla), byte(ins)
			if _, err := pinpad.ParseVerify(vp); (err == nil) != (cla == 0 && ins == 0x20) {
				t.Errorf("ParseVerify of %02X%02X = %v", cla, ins, err)
			}
			if _, err := pinpad.ParseModify(mp); (err == nil) != (cla == 0 && (ins == 0x24 || ins == 0x2C)) {
				t.Errorf("ParseModify of %02X%02X = %v", cla, ins, err)
			}
		}
	}
}

// TestStructureLengths: a structure is what it says and nothing else.
func TestStructureLengths(t *testing.T) {
	vp := verify{0, 0x82, 0x08, 0, 4, 8, pivVerify}.bytes(t)
	mp := modify{verify{0, 0x82, 0x08, 0, 4, 8, pivChange}, 0, 8, 3}.bytes(t)
	for n := range len(vp) {
		if e, err := pinpad.ParseVerify(vp[:n]); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("ParseVerify of %d bytes = %+v, %v", n, e, err)
		}
	}
	for n := range len(mp) {
		if e, err := pinpad.ParseModify(mp[:n]); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("ParseModify of %d bytes = %+v, %v", n, e, err)
		}
	}
	for name, p := range map[string][]byte{"a byte more": append(bytes.Clone(vp), 0xFF), "4 GiB": append(append(bytes.Clone(vp[:15]), 0xFF, 0xFF, 0xFF, 0xFF), vp[19:]...)} {
		if e, err := pinpad.ParseVerify(p); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("ParseVerify of %s = %+v, %v", name, e, err)
		}
	}
}

// FuzzEntry holds that what passes is a short command of class 00 that compares or replaces a PIN, and that beside the PINs
// it says nothing but filler.
func FuzzEntry(f *testing.F) {
	for _, v := range []verify{{0, 0x82, 8, 0, 4, 8, pivVerify}, {0, 0x89, 0x47, 4, 4, 12, eidVerify}, {0, 0x82, 0, 0, 4, 8, "00200080"}, {0, 0x85, 4, 0, 4, 8, "002000010400000000"}} {
		f.Add(false, v.bytes(f))
	}
	for _, command := range []string{pivChange, pivReset, "002C0080104142434445464748FFFFFFFFFFFFFFFF"} {
		f.Add(true, modify{verify{0, 0x82, 8, 0, 4, 8, command}, 0, 8, 3}.bytes(f))
	}
	f.Add(true, modify{verify{0, 0x89, 0x47, 4, 4, 12, "002400011020FFFFFFFFFFFFFF20FFFFFFFFFFFFFF"}, 0, 8, 3}.bytes(f))
	f.Add(true, modify{verify{0, 0x82, 0, 0, 6, 32, "00240081"}, 0, 0, 3}.bytes(f))
	f.Fuzz(func(t *testing.T, modify bool, p []byte) {
		parse, size := pinpad.ParseVerify, 19
		if modify {
			parse, size = pinpad.ParseModify, 24
		}
		e, err := parse(p)
		if err != nil {
			if r := cardbroker.ReasonOf(err); r != cardbroker.Invalid && r != cardbroker.Forbidden {
				t.Errorf("parse(%x) = %v", p, err)
			}
			return
		}
		if e.Min < pinpad.MinPIN || e.Max > pinpad.MaxPIN || e.Min > e.Max || !e.Old && !e.New {
			t.Fatalf("parse(%x) = %+v", p, e)
		}
		template := p[size:]
		if given := !e.Old && template[2] == 0; !given && len(template) > 5 {
			for _, b := range template[5:] {
				if b != 0x00 && b != 0xFF && b>>4 != 2 {
					t.Fatalf("parse(%x) passes the data %x, want filler", p, template[5:])
				}
			}
		}
		for _, n := range []int{e.Min, e.Max} {
			old, new := bytes.Repeat([]byte("1"), n), bytes.Repeat([]byte("6"), n)
			command := e.Command(old, new)
			c, err := apdu.ParseCommand(command)
			if err != nil || c.Extended || c.CLA != 0 || !bytes.Equal(command[:4], template[:4]) || len(c.Data) > 255 ||
				(c.INS != 0x20) == !modify || modify && c.INS != 0x24 && c.INS != 0x2C {
				t.Fatalf("Command of %x = %x, %v", p, command, err)
			}
			if len(template) > 5 && len(command) != len(template) {
				t.Errorf("Command of %x = %x, of another length", p, command)
			}
			text := hex.EncodeToString(c.Data)
			for pin, asked := range map[string]bool{"1": e.Old, "6": e.New} {
				var spelt string
				for _, s := range []string{strings.Repeat(pin, n), strings.Repeat("0"+pin, n), strings.Repeat("3"+pin, n)} {
					if strings.Contains(text, s) {
						spelt = s
					}
				}
				if asked && spelt == "" {
					t.Errorf("Command of %x = %x lacks a PIN of %d", p, command, n)
				}
			}
		}
	})
}
