// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cardbroker/cardbroker/apdu"
)

// told writes all that is said of an ATR's interface bytes, a line each.
func told(a apdu.ATR) (lines []string) {
	meanings := a.Meanings()
	for i, b := range a.Interface {
		lines = append(lines, fmt.Sprintf("%s=%02X %s", b.Name(), b.Value, meanings[i]))
	}
	return lines
}

// TestMeanings reads ATRs of cards that many people have.
func TestMeanings(t *testing.T) {
	tests := []struct {
		name, hex string
		want      []string
	}{
		{"YubiKey 4", "3BF81300008131FE15597562696B657934D4", []string{
			"TA1=13 Fi=372, Di=4: 93 clock cycles a bit, 43010 bit/s at 4 MHz; highest clock 5 MHz: 53763 bit/s",
			"TB1=00 VPP is not connected",
			"TC1=00 extra guard time: 0",
			"TD1=81 protocol T=1; TD2 follows",
			"TD2=31 protocol T=1; TA3, TB3 follow",
			"TA3=FE information field size of the card: 254",
			"TB3=15 block waiting time integer: 1; character waiting time integer: 5",
		}},
		{"MIFARE Plus SAM", "3BDF18FF81F1FE43003F03834D494641524520506C75732053414D3B", []string{
			"TA1=18 Fi=372, Di=12: 31 clock cycles a bit, 129032 bit/s at 4 MHz; highest clock 5 MHz: 161290 bit/s",
			"TC1=FF extra guard time: 255 (the shortest: 12 bits with T=0, 11 with T=1)",
			"TD1=81 protocol T=1; TD2 follows",
			"TD2=F1 protocol T=1; TA3, TB3, TC3, TD3 follow",
			"TA3=FE information field size of the card: 254",
			"TB3=43 block waiting time integer: 4; character waiting time integer: 3",
			"TC3=00 error detection code: LRC",
			"TD3=3F global interface bytes (T=15); TA4, TB4 follow",
			"TA4=03 clock stop: not supported; classes: A 5 V, B 3 V",
			"TB4=83 proprietary use of contact C6",
		}},
		{"specific mode", "3B90 11 90 91 0B F1 01 99 02", []string{
			"TA1=11 Fi=372, Di=1: 372 clock cycles a bit, 10752 bit/s at 4 MHz; highest clock 5 MHz: 13440 bit/s",
			"TD1=90 protocol T=0; TA2, TD2 follow",
			"TA2=91 specific mode: T=1; Fi and Di known otherwise; cannot change mode",
			"TD2=0B protocol T=11 (reserved); the last",
		}},
		{"T=0 alone", "3BF0 79 25 02 60 0A FE", []string{
			"TA1=79 Fi index 7 (reserved), Di index 9",
			"TB1=25 programming voltage (obsolete)",
			"TC1=02 extra guard time: 2",
			"TD1=60 protocol T=0; TB2, TC2 follow",
			"TB2=0A programming voltage (obsolete)",
			"TC2=FE waiting time integer of T=0: 254",
		}},
		{"reserved values", "3B80 C1 00 F1 00 AF 02 F1 01 01 01 7F C0 00 00 0E", []string{
			"TD1=C1 protocol T=1; TC2, TD2 follow",
			"TC2=00 waiting time integer of T=0: 0 (reserved)",
			"TD2=F1 protocol T=1; TA3, TB3, TC3, TD3 follow",
			"TA3=00 information field size of the card: 0 (reserved)",
			"TB3=AF block waiting time integer: 10 (reserved); character waiting time integer: 15",
			"TC3=02 error detection code: LRC (reserved)",
			"TD3=F1 protocol T=1; TA4, TB4, TC4, TD4 follow",
			"TA4=01 not defined for T=1",
			"TB4=01 not defined for T=1",
			"TC4=01 not defined for T=1",
			"TD4=7F global interface bytes (T=15); TA5, TB5, TC5 follow",
			"TA5=C0 clock stop: at either state; classes: reserved value 00",
			"TB5=00 contact C6 is not used",
			"TC5=00 not defined for T=15",
		}},
		{"global bytes of none", "3B80 81 1E 0F", []string{
			"TD1=81 protocol T=1; TD2 follows", "TD2=1E protocol T=14 (not standardised); TA3 follows", "TA3=0F not defined for T=14",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, _ := apdu.ReadATR(unhex(t, tt.hex))
			if got := told(a); !slices.Equal(got, tt.want) {
				t.Errorf("Meanings of %s:\n%s\nwant\n%s", tt.hex, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestReadATRGoesOn reads past what ParseATR refuses, and names each fault.
func TestReadATRGoesOn(t *testing.T) {
	tests := []struct {
		name, hex  string
		historical string
		wrong      []string
	}{
		{"nothing", "", "", []string{"byte 0: the length is 0, want 2 to 33"}},
		{"TS alone", "3B", "", []string{"byte 1: the length is 1, want 2 to 33"}},
		{"good", "3B8131FE45AAA1", "AA", nil},
		{"TS and TCK", "3C8131FE45AAA2", "AA", []string{"byte 0: TS is 3C, want 3B or 3F", "byte 6: TCK is A2, want A1"}},
		{"TD1 says T=15", "3B801F032233", "", []string{"byte 2: TD1 indicates T=15", "byte 4: TCK is 22, want 9C", "byte 5: 1 bytes too many"}},
		{"cut off in the historical bytes", "3B050102", "0102", []string{"byte 4: ends within the 5 historical bytes"}},
		{"cut off in the interface bytes", "3BC11140", "", []string{"byte 4: ends before TC2"}},
		{"too long", "3B00" + strings.Repeat("00", 32), "", []string{"byte 34: the length is 34, want 2 to 33", "byte 2: 32 bytes too many"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, wrong := apdu.ReadATR(unhex(t, tt.hex))
			var got []string
			for _, err := range wrong {
				got = append(got, strings.TrimPrefix(err.Error(), "ATR: "))
			}
			if !slices.Equal(got, tt.wrong) || fmt.Sprintf("%X", a.Historical) != tt.historical || len(a.Protocols) == 0 {
				t.Errorf("ReadATR(%s) = %+v, %q, want historical bytes %s and %q", tt.hex, a, got, tt.historical, tt.wrong)
			}
		})
	}
}

// TestWaitingTime holds the times that decide when a card counts as mute.
func TestWaitingTime(t *testing.T) {
	tests := []struct {
		name, hex string
		protocol  int
		want      time.Duration // at 4 MHz
	}{
		{"T=0, defaults", "3B00", 0, 893 * time.Millisecond},
		{"T=0, longest", "3BD0 D1 00 40 FF", 0, 125338 * time.Millisecond}, // 255 × 960 × 2048 / 4 MHz
		{"T=0, WI reserved", "3BC0 00 40 00", 0, 22767 * time.Millisecond},
		{"T=1, defaults", "3B80 81 01", 1, 1430 * time.Millisecond},
		{"T=1, BWI 1", "3BF81300008131FE15597562696B657934D4", 1, 180 * time.Millisecond},
		{"T=1, BWI 9: 46 s", "3B80 81 21 95", 1, 45713 * time.Millisecond},
		{"T=1, BWI reserved", "3B80 81 21 F5", 1, 45713 * time.Millisecond},
		{"T=14", "3B80 0E", 14, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, _ := apdu.ReadATR(unhex(t, tt.hex))
			if got := a.Parameters().WaitingTime(tt.protocol, apdu.UsualClock); got != tt.want {
				t.Errorf("WaitingTime(%d) of %s = %v, want %v", tt.protocol, tt.hex, got, tt.want)
			}
		})
	}
	if got := (apdu.Parameters{}).WaitingTime(1, 0); got <= 0 {
		t.Errorf("WaitingTime without a clock = %v", got)
	}
}

// TestParametersOfAnyATR builds an ATR from what it shall say and has it read.
func TestParametersOfAnyATR(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOfN(rapid.Byte(), 9, 9).Draw(t, "values")
		historical := rapid.SliceOfN(rapid.Byte(), 0, 15).Draw(t, "historical bytes")
		specific := rapid.Bool().Draw(t, "specific")
		raw := []byte{0x3B, 0xD0 | byte(len(historical)), v[0], v[1], 0xC0, v[2], 0x71, v[3], v[4], v[5]}
		if specific {
			raw = slices.Insert(raw, 5, v[6])
			raw[4] = 0xD0
		}
		raw = append(raw, historical...)
		sum := byte(0)
		for _, c := range raw[1:] {
			sum ^= c
		}
		raw = append(raw, sum)
		a, err := apdu.ParseATR(raw)
		if err != nil {
			t.Fatalf("ParseATR(%X): %v", raw, err)
		}
		p := a.Parameters()
		if p.N != int(v[1]) || p.WI != int(v[2]) || p.IFSC != int(v[3]) || p.BWI != int(v[4]>>4) || p.CWI != int(v[4]&15) ||
			p.CRC != (v[5]&1 != 0) || p.Specific != specific || specific && p.Protocol != int(v[6]&15) || !specific && p.Protocol != 0 {
			t.Fatalf("Parameters of %X = %+v", raw, p)
		}
		if want := (apdu.CheckByte{Needed: true, Present: true, Value: sum, Want: sum}); a.TCK != want ||
			!reflect.DeepEqual(a.Protocols, []int{0, 1}) || string(a.Historical) != string(historical) {
			t.Fatalf("ParseATR(%X) = %+v", raw, a)
		}
		flip := rapid.IntRange(0, 7).Draw(t, "bit")
		raw[len(raw)-1] ^= 1 << flip
		if _, err := apdu.ParseATR(raw); err == nil {
			t.Fatalf("ParseATR(%X) took a wrong TCK", raw)
		}
	})
}

// FuzzReadATR checks that all bytes can be explained, and that only what is without a fault is accepted.
func FuzzReadATR(f *testing.F) {
	for _, seed := range []string{"", "3B", "3B00", "3B801F032233", "3B8131FE45AAA1", "3BDF18FF81F1FE43003F03834D494641524520506C75732053414D3B"} {
		f.Add(unhex(f, seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, wrong := apdu.ReadATR(raw)
		for _, err := range wrong {
			if e, ok := errors.AsType[*apdu.SyntaxError](err); !ok || e.Offset < 0 || e.Offset > len(raw) {
				t.Errorf("ReadATR(%X): %v", raw, err)
			}
		}
		meanings := a.Meanings()
		if slices.Contains(meanings, "") || len(meanings) != len(a.Interface) {
			t.Errorf("ReadATR(%X): meanings %q", raw, meanings)
		}
		p := a.Parameters()
		for _, protocol := range append(a.Protocols, p.Protocol) {
			if wait := p.WaitingTime(protocol, apdu.UsualClock); wait < 0 || wait > 3*time.Minute {
				t.Errorf("ReadATR(%X): T=%d waits %v", raw, protocol, wait)
			}
		}
		if _, err := apdu.ParseATR(raw); (err == nil) != (len(wrong) == 0) {
			t.Errorf("ParseATR(%X): %v, though ReadATR found %v", raw, err, wrong)
		}
	})
}
