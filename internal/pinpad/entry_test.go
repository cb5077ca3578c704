// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pinpad_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/pinpad"
)

// verify is a PIN_VERIFY_STRUCTURE, field by field.
type verify struct {
	timeout, format, block, length byte
	min, max                       byte
	command                        string // hex
}

func (v verify) bytes(t testing.TB) []byte {
	t.Helper()
	p := []byte{v.timeout, v.timeout, v.format, v.block, v.length, v.max, v.min, 2, 0xFF, 0x09, 0x04, 0, 0, 0, 0}
	return appendCommand(t, p, v.command)
}

// modify is a PIN_MODIFY_STRUCTURE.
type modify struct {
	verify
	old, new, confirm byte
}

func (m modify) bytes(t testing.TB) []byte {
	t.Helper()
	p := []byte{m.timeout, m.timeout, m.format, m.block, m.length, m.old, m.new, m.max, m.min, m.confirm, 2, 0xFF, 0x09, 0x04, 0, 1, 2, 0, 0, 0}
	return appendCommand(t, p, m.command)
}

func appendCommand(t testing.TB, p []byte, text string) []byte {
	t.Helper()
	command, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.LittleEndian.AppendUint32(p, uint32(len(command))), command...)
}

const (
	pivVerify = "0020008008FFFFFFFFFFFFFFFF"
	pivChange = "0024008010FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
	pivReset  = "002C008010FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
	eidVerify = "002000010820FFFFFFFFFFFFFF" // a PIN block of ISO 9564-1 format 2
)

func TestVerify(t *testing.T) {
	for _, test := range []struct {
		name string
		v    verify
		pin  string
		want string
	}{
		{"PIV, as OpenSC asks", verify{30, 0x82, 0x08, 0, 4, 8, pivVerify}, "123456", "0020008008313233343536FFFF"},
		{"ASCII, position in bits", verify{30, 0x02, 0x08, 0, 4, 8, pivVerify}, "12345678", "00200080083132333435363738"},
		{"ASCII, letters", verify{30, 0x82, 0x08, 0, 4, 8, pivVerify}, "aB!~", "0020008008614221" + "7EFFFFFFFF"},
		{"format 2", verify{0, 0x89, 0x47, 0x04, 4, 12, eidVerify}, "1234", "0020000108241234FFFFFFFFFF"},
		{"format 2, odd, longest", verify{0, 0x89, 0x47, 0x04, 4, 12, eidVerify}, "123456789012", "00200001082C123456789012FF"},
		{"format 2, odd", verify{0, 0x89, 0x47, 0x04, 4, 12, eidVerify}, "12345", "002000010825" + "12345FFFFFFFFF"},
		{"format 2, a block of one byte too many", verify{0, 0x41, 0x48, 0x04, 4, 12, eidVerify}, "1234", "0020000108241234FFFFFFFFFF"},
		{"BCD in all there is", verify{0, 0x81, 0, 0, 4, 8, "0020000104FFFFFFFF"}, "1234567", "00200001041234567F"},
		{"BCD to the right", verify{0, 0x85, 4, 0, 4, 8, "002000010400000000"}, "12345", "002000010400012345"},
		{"binary to the right", verify{0, 0x84, 6, 0, 4, 6, "0020000106FFFFFFFFFFFF"}, "1234", "0020000106FFFF01020304"},
		{"ASCII, length before it in a byte", verify{0, 0x8A, 0x86, 0x10, 4, 6, "002000010700FFFFFFFFFFFF"}, "12345", "0020000107053132333435FF"},
		{"variable, Lc 0", verify{0, 0x82, 0, 0, 6, 32, "0020008100"}, "123456", "0020008106313233343536"},
		{"variable, no Lc", verify{0, 0x02, 0, 0, 6, 32, "00200081"}, "1234567", "002000810731323334353637"},
		{"variable, binary", verify{0, 0x80, 0, 0, 4, 32, "00200081"}, "1234", "002000810401020304"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, err := pinpad.ParseVerify(test.v.bytes(t))
			if err != nil {
				t.Fatalf("ParseVerify = %v", err)
			}
			if !e.Old || e.New || e.Unblocks() || e.Timeout != time.Duration(test.v.timeout)*time.Second || !e.Fits([]byte(test.pin)) {
				t.Errorf("ParseVerify = %+v, %q fits: %v", e, test.pin, e.Fits([]byte(test.pin)))
			}
			if got := hex.EncodeToString(e.Command([]byte(test.pin), nil)); got != hexLower(test.want) {
				t.Errorf("Command(%q) = %s, want %s", test.pin, got, hexLower(test.want))
			}
		})
	}
}

func hexLower(s string) string { return string(bytes.ToLower([]byte(s))) }

func TestModify(t *testing.T) {
	piv := func(command string) verify { return verify{30, 0x82, 0x08, 0, 4, 8, command} }
	for _, test := range []struct {
		name     string
		m        modify
		old, new string
		want     string
	}{
		{"PIV", modify{piv(pivChange), 0, 8, 3}, "123456", "87654321", "0024008010313233343536FFFF3837363534333231"},
		{"PIV, unblock", modify{piv(pivReset), 0, 8, 3}, "12345678", "654321", "002C0080103132333435363738363534333231FFFF"},
		{"PIV, unblock by a code that the back end has", modify{piv("002C0080104142434445464748FFFFFFFFFFFFFFFF"), 0, 8, 1}, "", "654321",
			"002C0080104142434445464748363534333231FFFF"},
		{"the first PIN of a card", modify{piv("0024010008FFFFFFFFFFFFFFFF"), 0, 0, 1}, "", "654321", "0024010008363534333231FFFF"},
		{"format 2", modify{verify{0, 0x89, 0x47, 0x04, 4, 12, "002400011020FFFFFFFFFFFFFF20FFFFFFFFFFFFFF"}, 0, 8, 3}, "1234", "56789",
			"0024000110241234FFFFFFFFFF2556789FFFFFFFFF"},
		{"variable", modify{verify{0, 0x82, 0, 0, 6, 32, "00240081"}, 0, 0, 3}, "123456", "1234567", "002400810D31323334353631323334353637"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, err := pinpad.ParseModify(test.m.bytes(t))
			if err != nil {
				t.Fatalf("ParseModify = %v", err)
			}
			if e.Old != (test.old != "") || !e.New || e.Repeat != (test.m.confirm&1 != 0) || e.Unblocks() != (test.m.command[2:4] == "2C") {
				t.Errorf("ParseModify = %+v", e)
			}
			if got := hex.EncodeToString(e.Command([]byte(test.old), []byte(test.new))); got != hexLower(test.want) {
				t.Errorf("Command(%q, %q) = %s, want %s", test.old, test.new, got, hexLower(test.want))
			}
		})
	}
}

// TestFits: a PIN that the command has no room for is known before it is put there.
func TestFits(t *testing.T) {
	e, err := pinpad.ParseVerify(verify{0, 0x89, 0x47, 0x04, 0, 255, eidVerify}.bytes(t))
	if err != nil || e.Min != pinpad.MinPIN || e.Max != 14 || !e.Digits {
		t.Fatalf("ParseVerify = %+v, %v, want 4 to 14 digits", e, err)
	}
	for pin, want := range map[string]bool{"": false, "123": false, "1234": true, "12345678901234": true, "123456789012345": false, "12a4": false, "12 4": false} {
		if got := e.Fits([]byte(pin)); got != want {
			t.Errorf("Fits(%q) = %v, want %v", pin, got, want)
		}
	}
	e, err = pinpad.ParseVerify(verify{0, 0x82, 0, 0, 4, 32, "00200081"}.bytes(t))
	if err != nil || e.Digits || !e.Fits([]byte("pass")) || e.Fits([]byte("pa ss")) || e.Fits([]byte("pas\x00s")) || e.Fits([]byte("pässe")) {
		t.Errorf("ParseVerify = %+v, %v, want printable ASCII", e, err)
	}
}

func TestProperties(t *testing.T) {
	if got := hex.EncodeToString(pinpad.AppendProperties(nil)); got != "00000200" {
		t.Errorf("AppendProperties = %s", got)
	}
	if got := hex.EncodeToString(pinpad.AppendTLVProperties(nil)); got != "01020000"+"020102"+"030100"+"060104"+"070120"+"090100" {
		t.Errorf("AppendTLVProperties = %s", got)
	}
	if code, ok := pinpad.PadFeatures().Code(pinpad.VerifyPINDirect); !ok || code != 0x42330006 {
		t.Errorf("VERIFY has the code %08X, %v, want 42330006", code, ok)
	}
	for code, want := range map[uint32]bool{0x42330006: true, 0x42330000: true, 0x423300FF: true, 0x42330100: false, 0x42000D48: true, 0x42000001: false, 0x42320006: false} {
		if got := pinpad.Reserved(code); got != want {
			t.Errorf("Reserved(%08X) = %v, want %v", code, got, want)
		}
	}
}
