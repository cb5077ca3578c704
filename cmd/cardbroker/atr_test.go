// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/api"
)

// scanned returns what is written for people of one event.
func scanned(t *testing.T, e api.ReaderEvent) string {
	t.Helper()
	var out strings.Builder
	e.Time = time.Date(2026, 5, 4, 3, 2, 1, 0, time.Local)
	p := &program{stdout: &out}
	if err := p.writeScan(e); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestWriteScan holds the blocks that people read.
func TestWriteScan(t *testing.T) {
	for _, test := range []struct {
		name  string
		event api.ReaderEvent
		want  string
	}{
		{"a reader", api.ReaderEvent{Event: api.EventReaderAdded, Reader: "0123", Name: "Reader 0"}, `2026-05-04 03:02:01.000
Reader: Reader 0 (0123)
  State: reader connected

`},
		{"it is gone", api.ReaderEvent{Event: api.EventReaderRemoved, Reader: "0123", Name: "Reader 0"}, `2026-05-04 03:02:01.000
Reader: Reader 0 (0123)
  State: reader removed

`},
		{"no card", api.ReaderEvent{Event: api.EventCardOut, Reader: "0123", Name: "Reader 0"}, `2026-05-04 03:02:01.000
Reader: Reader 0 (0123)
  State: no card

`},
		{"a card that does not answer", api.ReaderEvent{Event: api.EventCardIn, Reader: "0123", Name: "Reader 0"}, `2026-05-04 03:02:01.000
Reader: Reader 0 (0123)
  State: card inserted, mute: it does not answer

`},
		{"a card, and names that would move the cursor", api.ReaderEvent{Event: api.EventCardIn, Reader: "0123", Name: "Reader\n0\x1b[2J",
			ATR: "3B7F9600000031B8644070141073940180829000", Description: []string{"IAS ECC", "a\nb\tc"}}, `2026-05-04 03:02:01.000
Reader: Reader?0?[2J (0123)
  State: card inserted
  ATR: 3B 7F 96 00 00 00 31 B8 64 40 70 14 10 73 94 01 80 82 90 00
  + TS = 3B: direct convention
  + T0 = 7F: TA1, TB1, TC1; 15 historical bytes
    TA1 = 96: Fi=512, Di=32: 16 clock cycles a bit, 250000 bit/s at 4 MHz; highest clock 5 MHz: 312500 bit/s
    TB1 = 00: VPP is not connected
    TC1 = 00: extra guard time: 0
  + Protocols: T=0; T=0 unless another is chosen; may be silent for 1229 ms with T=0 (at 4 MHz)
  + Historical bytes: 00 31 B8 64 40 70 14 10 73 94 01 80 82 90 00
    Category 00: compact-TLV objects, then status
      Tag 3, card service data: B8
        - application selection by full DF name
        - BER-TLV data objects in EF.DIR
        - BER-TLV data objects in EF.ATR/INFO
        - EF.DIR and EF.ATR/INFO are read by READ BINARY
        - card with MF
      Tag 6, pre-issuing data: 40 70 14 10
      Tag 7, card capabilities: 94 01 80
        - DF selection by full DF name
        - DF selection by file identifier
        - short EF identifiers
        - write functions: one-time write
        - FF as first byte of a BER-TLV tag: not valid
        - data unit: 2 half-bytes
        - command chaining
        - no logical channels
        - at most 1 logical channel
      life cycle 82: proprietary
      status word 9000: success
  + TCK: none is needed
  Possibly identified card:
    IAS ECC
    a?b?c

`},
		{"an ATR with faults", api.ReaderEvent{Event: api.EventCardIn, Reader: "0123", Name: "R", ATR: "3F90118101806D00"}, `2026-05-04 03:02:01.000
Reader: R (0123)
  State: card inserted
  ATR: 3F 90 11 81 01 80 6D 00
  + TS = 3F: inverse convention
  + T0 = 90: TA1, TD1; 0 historical bytes
    TA1 = 11: Fi=372, Di=1: 372 clock cycles a bit, 10752 bit/s at 4 MHz; highest clock 5 MHz: 13440 bit/s
    TD1 = 81: protocol T=1; TD2 follows
    TD2 = 01: protocol T=1; the last
  + Protocols: T=1; T=1 unless another is chosen; may be silent for 1430 ms with T=1 (at 4 MHz)
  + Historical bytes: none
  + TCK = 80: WRONG, want 01
  ! ATR: byte 5: TCK is 80, want 01
  ! ATR: byte 6: 2 bytes too many
  Possibly identified card:
    unknown

`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := scanned(t, test.event); got != test.want {
				t.Errorf("writeScan =\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// FuzzATRLines explains any bytes: a line each, none of which is empty.
func FuzzATRLines(f *testing.F) {
	for _, seed := range []string{"3B", "3B00", "3B02594F", "3B021001", "3B8E80018073C021C058736F6674636172649F", "3F90118101806D00"} {
		raw, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) == 0 {
			return
		}
		for _, line := range atrLines(raw) {
			if strings.TrimSpace(line) == "" || printable(line, ' ') != line {
				t.Errorf("atrLines(%X): the line %q", raw, line)
			}
		}
	})
}
