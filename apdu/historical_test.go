// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/apdu"
)

// recounted writes all that is said of historical bytes, a line each.
func recounted(h apdu.Historical) []string {
	lines := []string{h.CategoryWords()}
	for _, o := range h.Objects {
		lines = append(lines, fmt.Sprintf("%s %X", o.Name(), o.Value))
		lines = append(lines, o.Words()...)
	}
	return append(lines, h.Status.Words()...)
}

func TestParseHistorical(t *testing.T) {
	tests := []struct {
		name, hex string
		want      []string
	}{
		{"IAS ECC", "0031B86440701410739401808290 00", []string{
			"compact-TLV objects, then status",
			"card service data B8", "application selection by full DF name", "BER-TLV data objects in EF.DIR",
			"BER-TLV data objects in EF.ATR/INFO", "EF.DIR and EF.ATR/INFO are read by READ BINARY", "card with MF",
			"pre-issuing data 40701410",
			"card capabilities 940180", "DF selection by full DF name", "DF selection by file identifier", "short EF identifiers",
			"write functions: one-time write", "FF as first byte of a BER-TLV tag: not valid", "data unit: 2 half-bytes",
			"command chaining", "no logical channels", "at most 1 logical channel",
			"life cycle 82: proprietary", "status word 9000: success",
		}},
		{"status in an object", "80 83 05 6283", []string{
			"compact-TLV objects", "status 056283", "life cycle 05: operational, activated", "status word 6283: selected file deactivated",
		}},
		{"life cycle alone", "80 81 0F", []string{"compact-TLV objects", "status 0F", "life cycle 0F: termination"}},
		{"word alone", "80 82 0000", []string{"compact-TLV objects", "status 0000", "status word 0000: none said"}},
		{"capabilities of all kinds", "80 73 FF F2 7F", []string{
			"compact-TLV objects", "card capabilities FFF27F",
			"DF selection by full DF name", "DF selection by partial DF name", "DF selection by path", "DF selection by file identifier",
			"implicit DF selection", "short EF identifiers", "record numbers", "record identifiers",
			"EFs of TLV structure", "write functions: write AND", "FF as first byte of a BER-TLV tag: valid", "data unit: 4 half-bytes",
			"extended Lc and Le fields", "extended length information in EF.ATR/INFO",
			"logical channels numbered by the card or the interface device", "8 or more logical channels",
		}},
		{"one byte of capabilities", "80 71 80", []string{"compact-TLV objects", "card capabilities 80", "DF selection by full DF name"}},
		{"country, issuer, access, issuer's data", "80 12 276F 21 99 41 20 53 010203", []string{
			"compact-TLV objects", "country code 276F", "country 276 of ISO 3166-1", "issuer identification number 99",
			"initial access data 20", "read 32 bytes", "card issuer's data 010203",
		}},
		{"access to a file; a command", "80 42 9E 10 45 00B0000008", []string{
			"compact-TLV objects", "initial access data 9E10", "read 16 bytes of the file with short identifier 30",
			"initial access data 00B0000008", "command to begin with",
		}},
		{"wrong lengths", "80 32 0000 43 000000 70 10", []string{
			"compact-TLV objects", "card service data 0000", "2 bytes, want 1", "initial access data 000000", "3 bytes, want 1, 2, or 5 and more",
			"card capabilities ", "0 bytes, want 1 to 3", "country code ",
		}},
		{"application, reserved", "80 F2 A000 91 00", []string{"compact-TLV objects", "application identifier A000", "reserved 00"}},
		{"service by GET DATA; another way", "80 31 45 31 02", []string{
			"compact-TLV objects", "card service data 45", "application selection by partial DF name", "EF.DIR and EF.ATR/INFO are read by GET DATA",
			"card without MF", "card service data 02", "EF.DIR and EF.ATR/INFO are read in a reserved way", "card with MF",
		}},
		{"DIR", "10 01", []string{"DIR data reference"}},
		{"reserved", "8F 01", []string{"reserved"}},
		{"proprietary", "597562696B657934", []string{"proprietary"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := apdu.ParseHistorical(unhex(t, tt.hex))
			if got := recounted(h); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("ParseHistorical(%s): %v\n%s\nwant\n%s", tt.hex, err, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestParseHistoricalRefuses(t *testing.T) {
	tests := []struct {
		name, hex, want string
		objects         int // that were read before
	}{
		{"nothing", "", "byte 0: there are none", 0},
		{"no status", "00 8200", "byte 3: end before the three bytes of status", 0},
		{"no reference", "10", "byte 1: end before the DIR data reference", 0},
		{"cut off", "80 31C1 45 0102", "byte 3: the length is 5, but 2 bytes follow", 1},
		{"runs into the status", "00 32C1 000000", "byte 1: the length is 2, but 1 bytes follow", 0},
		{"status too long", "80 84 00010203", "byte 1: the status has 4 bytes, want 1 to 3", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := apdu.ParseHistorical(unhex(t, tt.hex))
			if want := "historical bytes: " + tt.want; err == nil || err.Error() != want || len(h.Objects) != tt.objects {
				t.Errorf("ParseHistorical(%s) = %+v, %v, want %s", tt.hex, h, err, want)
			}
		})
	}
}

func TestCapabilities(t *testing.T) {
	h, err := apdu.ParseHistorical(unhex(t, "80 73 C0 01 D2"))
	got, ok := h.Capabilities()
	if want := (apdu.Capabilities{Chaining: true, ExtendedLength: true, ChannelsByCard: true, Channels: 3}); err != nil || !ok || got != want {
		t.Errorf("Capabilities = %+v, %v, %v, want %+v", got, ok, err, want)
	}
	for _, none := range []string{"80 72 C001", "80 31 00", "59"} {
		h, _ := apdu.ParseHistorical(unhex(t, none))
		if got, ok := h.Capabilities(); ok {
			t.Errorf("Capabilities of %s = %+v, want none", none, got)
		}
	}
}

// TestLifeCycle goes through the table of ISO/IEC 7816-4 §7.4.10.
func TestLifeCycle(t *testing.T) {
	for c, want := range map[byte]string{
		0x00: "not said", 0x01: "creation", 0x02: "reserved", 0x03: "initialization", 0x04: "operational, deactivated", 0x05: "operational, activated",
		0x06: "operational, deactivated", 0x07: "operational, activated", 0x08: "reserved", 0x0B: "reserved", 0x0C: "termination", 0x0F: "termination", 0x10: "proprietary",
	} {
		got := apdu.CardStatus{HasLifeCycle: true, LifeCycle: c}.Words()
		if want := fmt.Sprintf("life cycle %02X: %s", c, want); len(got) != 1 || got[0] != want {
			t.Errorf("Words = %q, want %q", got, want)
		}
	}
}

// FuzzParseHistorical checks that objects lie one after the other, and that all can be told.
func FuzzParseHistorical(f *testing.F) {
	for _, seed := range []string{"", "00", "0031B8644070141073940180829000", "8031C145", "1001", "597562", "80845555"} {
		f.Add(unhex(f, seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := apdu.ParseHistorical(raw)
		at := 1
		for _, o := range h.Objects {
			if o.Offset != at {
				t.Errorf("ParseHistorical(%X) = %+v", raw, h)
			}
			at += 1 + len(o.Value)
		}
		if err == nil && len(h.Objects) > 0 && at != len(raw) && at+3 != len(raw) {
			t.Errorf("ParseHistorical(%X) = %+v ends at %d", raw, h, at)
		}
		if len(recounted(h)) == 0 || at > max(1, len(raw)) {
			t.Errorf("ParseHistorical(%X) = %+v", raw, h)
		}
	})
}
