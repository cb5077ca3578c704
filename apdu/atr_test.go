// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu_test

import (
	"reflect"
	"testing"

	"github.com/cardbroker/cardbroker/apdu"
)

func TestParseATR(t *testing.T) {
	tests := []struct {
		name      string
		hex       string
		inverse   bool
		protocols []int
		hist      string
		iface     int // number of interface bytes
	}{
		{"shortest", "3B00", false, []int{0}, "", 0},
		{"T=0, historical bytes, no TCK", "3B02 1450", false, []int{0}, "1450", 0},
		{"inverse", "3F65 2508 2204689000", true, []int{0}, "2204689000", 2},
		{"T=0 and T=1", "3B80 80 01 01", false, []int{0, 1}, "", 2},
		{"T=1 only", "3B81 31 FE 45 AA A1", false, []int{1}, "AA", 3},
		{"T=1 before T=0", "3B80 81 00 01", false, []int{1, 0}, "", 2},
		{"T=0 and T=15", "3BD0 11 00 80 1F 03 5D", false, []int{0}, "", 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := unhex(t, tt.hex)
			got, err := apdu.ParseATR(raw)
			if err != nil {
				t.Fatalf("ParseATR(%X): %v", raw, err)
			}
			if got.Inverse != tt.inverse || !reflect.DeepEqual(got.Protocols, tt.protocols) ||
				string(got.Historical) != string(unhex(t, tt.hist)) || len(got.Interface) != tt.iface {
				t.Errorf("ParseATR(%X) = %+v", raw, got)
			}
		})
	}
}

func TestParseATRNamesInterfaceBytes(t *testing.T) {
	got, err := apdu.ParseATR(unhex(t, "3B D0 11 00 91 81 31 45 06 A3"))
	want := []apdu.InterfaceByte{
		{Kind: 'A', Index: 1, T: 0, Value: 0x11}, {Kind: 'C', Index: 1, T: 0, Value: 0x00}, {Kind: 'D', Index: 1, T: 0, Value: 0x91},
		{Kind: 'A', Index: 2, T: 1, Value: 0x81}, {Kind: 'D', Index: 2, T: 1, Value: 0x31},
		{Kind: 'A', Index: 3, T: 1, Value: 0x45}, {Kind: 'B', Index: 3, T: 1, Value: 0x06},
	}
	if err != nil || !reflect.DeepEqual(got.Interface, want) {
		t.Errorf("ParseATR: interface bytes %v, %v, want %v", got.Interface, err, want)
	}
}

func TestParseATRRefuses(t *testing.T) {
	tests := []struct {
		name string
		hex  string
		want string
	}{
		{"nothing", "", "byte 0: the length is 0, want 2 to 33"},
		{"TS alone", "3B", "byte 1: the length is 1, want 2 to 33"},
		{"too long", "3B0F" + "0000000000000000000000000000000000000000000000000000000000000000", "byte 34: the length is 34, want 2 to 33"},
		{"TS", "3C00", "byte 0: TS is 3C, want 3B or 3F"},
		{"ends before TD1", "3B80", "byte 2: ends before TD1"},
		{"ends before TC2", "3BC0 11 40", "byte 4: ends before TC2"},
		{"TD1 says T=15", "3B80 0F 00", "byte 2: TD1 indicates T=15"},
		{"historical bytes cut off", "3B05 0102", "byte 4: ends within the 5 historical bytes"},
		{"TCK missing", "3B80 01", "byte 3: TCK is missing"},
		{"TCK wrong", "3B80 80 01 02", "byte 4: TCK is 02, want 01"},
		{"TCK without need", "3B02 1450 46", "byte 4: 1 bytes too many"},
		{"too many bytes", "3B80 80 01 01 00", "byte 5: 1 bytes too many"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := apdu.ParseATR(unhex(t, tt.hex))
			if want := "ATR: " + tt.want; err == nil || err.Error() != want {
				t.Errorf("ParseATR(%s): error %v, want %s", tt.hex, err, want)
			}
		})
	}
}

// FuzzParseATR checks that what is accepted is accounted for, byte for byte.
func FuzzParseATR(f *testing.F) {
	for _, seed := range []string{"3B00", "3B80800101", "3B8131FE45AAA1", "3F65250822046890", "3BD01100801F035D", "3B80"} {
		f.Add(unhex(f, seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := apdu.ParseATR(raw)
		if err != nil {
			return
		}
		n := 2 + len(a.Interface) + len(a.Historical)
		if len(raw) < 2 || len(raw) > 33 || n != len(raw) && n+1 != len(raw) || len(a.Protocols) == 0 {
			t.Errorf("ParseATR(%X) = %+v", raw, a)
		}
	})
}
