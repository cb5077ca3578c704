// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu_test

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"github.com/cardbroker/cardbroker/apdu"
)

func TestParseTLV(t *testing.T) {
	tests := []struct {
		name string
		hex  string
		want []apdu.TLV
	}{
		{"nothing", "", nil},
		{"one", "5C 01 7E", []apdu.TLV{{Tag: 0x5C, Value: []byte{0x7E}}}},
		{"empty value", "82 00", []apdu.TLV{{Tag: 0x82, Value: []byte{}}}},
		{"two and three bytes of tag", "7F49 01 AA 5FC102 01 BB", []apdu.TLV{{Tag: 0x7F49, Value: []byte{0xAA}}, {Tag: 0x5FC102, Value: []byte{0xBB}}}},
		{"padding", "00 00 81 01 01 00 82 00 00", []apdu.TLV{{Tag: 0x81, Value: []byte{1}}, {Tag: 0x82, Value: []byte{}}}},
		{"length of two bytes", "81 81 01 05", []apdu.TLV{{Tag: 0x81, Value: []byte{5}}}},
		{"length of five bytes", "81 84 00000001 05", []apdu.TLV{{Tag: 0x81, Value: []byte{5}}}},
		{"plain bytes below a constructed tag", "71 01 00", []apdu.TLV{{Tag: 0x71, Value: []byte{0}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := apdu.ParseTLV(unhex(t, tt.hex))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ParseTLV(%s) = %v, %v, want %v", tt.hex, got, err, tt.want)
			}
		})
	}
}

func TestParseTLVRefuses(t *testing.T) {
	tests := []struct {
		name string
		hex  string
		want string
	}{
		{"tag cut off", "81 00 5F", "byte 3: ends within a tag"},
		{"tag cut off later", "5F C1", "byte 2: ends within a tag"},
		{"tag too long", "5F C1 82 03 00", "byte 2: a tag has more than 3 bytes"},
		{"tag with leading zeros", "5F 80 01 00", "byte 1: a tag's second byte is 80"},
		{"no length", "5C", "byte 1: ends before a length"},
		{"indefinite length", "30 80 00 00", "byte 1: a length begins with 80, want 00 to 7F or 81 to 84"},
		{"length too long", "30 85 0000000001 00", "byte 1: a length begins with 85, want 00 to 7F or 81 to 84"},
		{"length cut off", "30 82 01", "byte 3: ends within a length"},
		{"value cut off", "81 00 5C 03 0102", "byte 3: the length is 3, but 2 bytes follow"},
		{"greatest length", "5C 84 FFFFFFFF 01", "byte 1: the length is 4294967295, but 1 bytes follow"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := apdu.ParseTLV(unhex(t, tt.hex))
			if want := "TLV: " + tt.want; err == nil || err.Error() != want {
				t.Errorf("ParseTLV(%s): error %v, want %s", tt.hex, err, want)
			}
		})
	}
}

func TestFind(t *testing.T) {
	raw := unhex(t, "5C 01 01 7C 08 82 00 81 01 AA 81 01 BB 53 02 7001")
	tests := []struct {
		name string
		path []apdu.Tag
		want string
		ok   bool
	}{
		{"first level", []apdu.Tag{0x5C}, "01", true},
		{"second level, the first of two", []apdu.Tag{0x7C, 0x81}, "AA", true},
		{"empty value", []apdu.Tag{0x7C, 0x82}, "", true},
		{"not there", []apdu.Tag{0x7C, 0x83}, "", false},
		{"malformed on the way", []apdu.Tag{0x53, 0x70}, "", false},
		{"empty path", nil, fmt.Sprintf("%X", raw), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := apdu.Find(raw, tt.path...)
			if ok != tt.ok || ok && fmt.Sprintf("%X", got) != tt.want {
				t.Errorf("Find(%X) = %X, %v, want %s, %v", tt.path, got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestAppendTLVChoosesTheShortestLength(t *testing.T) {
	for _, tt := range []struct {
		n    int
		want string
	}{{0, "5300"}, {127, "537F"}, {128, "538180"}, {255, "5381FF"}, {256, "53820100"}, {65536, "5383010000"}, {1 << 24, "538401000000"}} {
		got := apdu.AppendTLV(nil, 0x53, make([]byte, tt.n))
		if head := fmt.Sprintf("%X", got[:len(got)-tt.n]); head != tt.want {
			t.Errorf("AppendTLV with %d bytes begins with %s, want %s", tt.n, head, tt.want)
		}
	}
}

// FuzzParseTLV checks that what was parsed and appended again parses as the same.
func FuzzParseTLV(f *testing.F) {
	for _, seed := range []string{"5C017E", "7C0482008100", "7F4901AA5FC10201BB", "0000810101", "8184000000 0105", "30800000", "5F"} {
		f.Add(unhex(f, seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := apdu.ParseTLV(raw)
		if err != nil {
			return
		}
		var back []byte
		for _, o := range list {
			back = apdu.AppendTLV(back, o.Tag, o.Value)
			apdu.Find(raw, o.Tag, o.Tag)
		}
		if len(back) > len(raw) {
			t.Errorf("ParseTLV(%X), then AppendTLV is longer: %X", raw, back)
		}
		again, err := apdu.ParseTLV(back)
		if err != nil || len(again) != len(list) {
			t.Fatalf("ParseTLV(%X) again: %v", back, err)
		}
		for i := range list {
			if again[i].Tag != list[i].Tag || !bytes.Equal(again[i].Value, list[i].Value) {
				t.Errorf("ParseTLV(%X): object %d is %v, was %v", back, i, again[i], list[i])
			}
		}
	})
}
