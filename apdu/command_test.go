// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/apdu"
)

// unhex reads hexadecimal digits; spaces are for the reader.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseCommand(t *testing.T) {
	long := strings.Repeat("AB", 65535)
	tests := []struct {
		name string
		hex  string
		want apdu.Command
	}{
		{"case 1", "00A40400", apdu.Command{INS: 0xA4, P1: 4}},
		{"case 2S", "00B000 01 05", apdu.Command{INS: 0xB0, P2: 1, Le: 5}},
		{"case 2S, most", "80CA9F7F 00", apdu.Command{CLA: 0x80, INS: 0xCA, P1: 0x9F, P2: 0x7F, Le: 256}},
		{"case 3S", "00200080 02 3132", apdu.Command{INS: 0x20, P2: 0x80, Data: []byte("12")}},
		{"case 4S", "00A40400 02 3F00 00", apdu.Command{INS: 0xA4, P1: 4, Data: []byte{0x3F, 0}, Le: 256}},
		{"case 2E", "00B00000 00 0100", apdu.Command{INS: 0xB0, Le: 256, Extended: true}},
		{"case 2E, most", "00B00000 00 0000", apdu.Command{INS: 0xB0, Le: 65536, Extended: true}},
		{"case 3E", "00D60000 00 0001 AA", apdu.Command{INS: 0xD6, Data: []byte{0xAA}, Extended: true}},
		{"case 3E, most", "00D60000 00 FFFF" + long, apdu.Command{INS: 0xD6, Data: unhex(t, long), Extended: true}},
		{"case 4E", "00870711 00 0002 7C00 0000", apdu.Command{INS: 0x87, P1: 7, P2: 0x11, Data: []byte{0x7C, 0}, Le: 65536, Extended: true}},
		{"case 4E, most", "00870711 00 FFFF" + long + "FFFF", apdu.Command{INS: 0x87, P1: 7, P2: 0x11, Data: unhex(t, long), Le: 65535, Extended: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := unhex(t, tt.hex)
			got, err := apdu.ParseCommand(raw)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ParseCommand = %v, %v, want %v", got, err, tt.want)
			}
			back, err := got.Append(nil)
			if err != nil || !bytes.Equal(back, raw) {
				t.Errorf("Bytes = %d bytes, %v, want what was parsed", len(back), err)
			}
		})
	}
}

func TestParseCommandRefuses(t *testing.T) {
	tests := []struct {
		name string
		hex  string
		want string
	}{
		{"nothing", "", "byte 0: the length is 0, want 4 to 65544"},
		{"three bytes", "00A404", "byte 3: the length is 3, want 4 to 65544"},
		{"too long", "00A40400 00 FFFF" + strings.Repeat("00", 65538), "byte 65545: the length is 65545, want 4 to 65544"},
		{"Lc without data", "00A40400 0000", "byte 4: Lc is 0"},
		{"data cut off", "00A40400 05 3F00", "byte 4: Lc is 5, but 2 bytes follow"},
		{"two bytes too many", "00A40400 01 3F 0000", "byte 6: 2 bytes follow the data, want none or an Le of 1"},
		{"extended Lc of 0", "00A40400 00 0000 00", "byte 5: Lc is 0"},
		{"extended data cut off", "00A40400 00 0003 0000", "byte 5: Lc is 3, but 2 bytes follow"},
		{"extended with a short Le", "00A40400 00 0001 3F 00", "byte 8: 1 bytes follow the data, want none or an Le of 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := apdu.ParseCommand(unhex(t, tt.hex))
			if want := "command APDU: " + tt.want; err == nil || err.Error() != want {
				t.Errorf("ParseCommand: error %v, want %s", err, want)
			}
			if _, ok := errors.AsType[*apdu.SyntaxError](err); !ok {
				t.Errorf("ParseCommand: error is a %T, want *SyntaxError", err)
			}
		})
	}
}

func TestCommandThatDoesNotFitItsForm(t *testing.T) {
	tests := []struct {
		name string
		c    apdu.Command
	}{
		{"short data", apdu.Command{Data: make([]byte, 256)}},
		{"short Le", apdu.Command{Le: 257}},
		{"negative Le", apdu.Command{Le: -1}},
		{"extended data", apdu.Command{Data: make([]byte, 65536), Extended: true}},
		{"extended Le", apdu.Command{Le: 65537, Extended: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.c.Append([]byte("kept"))
			if err == nil || string(got) != "kept" {
				t.Errorf("Append = %q, %v, want dst as it was and an error", got, err)
			}
		})
	}
}

func TestCommandStringHidesData(t *testing.T) {
	c := apdu.Command{INS: 0x20, P2: 0x80, Data: []byte("123456"), Le: 0}
	if got, want := fmt.Sprintf("%v %+v %s", c, c, c), strings.Repeat("00200080 Lc 6 Le 0 ", 3); got+" " != want {
		t.Errorf("a VERIFY prints as %q, want %q", got, want)
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, seed := range []string{"00A40400", "00B0000100", "0020008002FFFF", "00A40400023F0000", "00B00000000000",
		"00D6000000000100", "00870711000002 7C00 0000", "00A404000000"} {
		f.Add(unhex(f, seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := apdu.ParseCommand(raw)
		if err != nil {
			return
		}
		back, err := c.Append(nil)
		if err != nil || !bytes.Equal(back, raw) {
			t.Errorf("ParseCommand(%x), then Append = %x, %v", raw, back, err)
		}
	})
}
