// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

import (
	"fmt"
	"slices"
)

// ATR is an answer to reset, ISO/IEC 7816-3 §8.2.
type ATR struct {
	Inverse    bool            // TS says inverse convention
	T0         byte            // the format byte
	Interface  []InterfaceByte // TA1, TB1, … in the order of the ATR
	Historical []byte          // up to 15 bytes, ISO/IEC 7816-4 §12.1.1
	Protocols  []int           // the T offered, the first offered first; T = 15 is none
	TCK        CheckByte
}

// CheckByte is TCK, ISO/IEC 7816-3 §8.2.5: all bytes from T0 to TCK together are 00 by exclusive or.
type CheckByte struct {
	Needed  bool // a protocol other than T=0 is indicated
	Present bool // it is needed, and there
	Value   byte // what the ATR has; where it is present
	Want    byte // what is right; where it is needed
}

// InterfaceByte is one of an ATR's interface bytes, ISO/IEC 7816-3 §8.2.3.
type InterfaceByte struct {
	Kind  byte // 'A', 'B', 'C' or 'D'
	Index int  // the i of TAi, from 1
	T     int  // the protocol that it belongs to; for the first group 0, for global bytes 15
	Value byte
}

// Name returns "TA1", for example.
func (b InterfaceByte) Name() string { return fmt.Sprintf("T%c%d", b.Kind, b.Index) }

// maxATR is TS and the 32 characters after it.
const maxATR = 33

// global is the T of interface bytes that are for all protocols.
const global = 15

// ParseATR reads an answer to reset of 2 to 33 bytes. TCK must be there and right where a protocol other than T=0 is
// indicated, and must not be there otherwise, ISO/IEC 7816-3 §8.2.5. Historical is part of b. Errors: [*SyntaxError].
func ParseATR(b []byte) (ATR, error) {
	a, wrong := ReadATR(b)
	if len(wrong) > 0 {
		return ATR{}, wrong[0]
	}
	return a, nil
}

// ReadATR reads of an answer to reset what can be read, for people who look at cards that break the rules of [ParseATR],
// and returns all that is wrong with it: each is a [*SyntaxError], in the order in which they were found. Historical is
// part of b.
func ReadATR(b []byte) (ATR, []error) {
	a := ATR{Protocols: []int{0}}
	r := atrReader{ATR: &a, b: b}
	if len(b) < 2 || len(b) > maxATR {
		r.note(len(b), "the length is %d, want 2 to %d", len(b), maxATR)
	}
	if len(b) > 0 && b[0] != 0x3B && b[0] != 0x3F {
		r.note(0, "TS is %02X, want 3B or 3F", b[0])
	}
	a.Inverse = len(b) > 0 && b[0] == 0x3F
	if len(b) < 2 {
		return a, r.wrong
	}
	a.T0 = b[1]
	if at, ok := r.interfaceBytes(); ok {
		r.historical(at)
	}
	return a, r.wrong
}

// atrReader reads an ATR and notes what is wrong.
type atrReader struct {
	*ATR
	b     []byte
	wrong []error
}

func (r *atrReader) note(offset int, format string, args ...any) {
	r.wrong = append(r.wrong, malformed("ATR", offset, format, args...))
}

// interfaceBytes reads the interface bytes, from T0 on, and returns the offset behind them. It is false if the ATR ends
// before.
func (r *atrReader) interfaceBytes() (at int, ok bool) {
	at = 2
	t := 0
	var protocols []int
	for index, y := 1, r.T0>>4; y != 0; index++ {
		next := byte(0)
		for kind := range byte(4) {
			if y&(1<<kind) == 0 {
				continue
			}
			if at == len(r.b) {
				r.note(at, "ends before T%c%d", 'A'+kind, index)
				return at, false
			}
			r.Interface = append(r.Interface, InterfaceByte{Kind: 'A' + kind, Index: index, T: t, Value: r.b[at]})
			if kind == 3 {
				next = r.b[at]
				r.TCK.Needed = r.TCK.Needed || next&0x0F != 0
				protocols = r.offer(protocols, at)
			}
			at++
		}
		y, t = next>>4, int(next&0x0F)
	}
	return at, true
}

// offer notes the protocol of the TD byte at that offset. T=15 is none, and may not be where the first is due.
func (r *atrReader) offer(protocols []int, at int) []int {
	switch t := int(r.b[at] & 0x0F); {
	case t == global && len(protocols) == 0:
		r.note(at, "TD1 indicates T=15")
	case t != global && !slices.Contains(protocols, t):
		protocols = append(protocols, t)
		r.Protocols = protocols
	}
	return protocols
}

// historical reads what follows the interface bytes: historical bytes and TCK.
func (r *atrReader) historical(at int) {
	end := at + int(r.T0&0x0F)
	if end > len(r.b) {
		r.Historical = r.b[at:]
		r.note(len(r.b), "ends within the %d historical bytes", r.T0&0x0F)
		return
	}
	r.Historical = r.b[at:end:end]
	if r.TCK.Needed {
		for _, c := range r.b[1:end] {
			r.TCK.Want ^= c
		}
		if end == len(r.b) {
			r.note(end, "TCK is missing")
			return
		}
		r.TCK.Present, r.TCK.Value = true, r.b[end]
		if r.TCK.Value != r.TCK.Want {
			r.note(end, "TCK is %02X, want %02X", r.TCK.Value, r.TCK.Want)
		}
		end++
	}
	if end != len(r.b) {
		r.note(end, "%d bytes too many", len(r.b)-end)
	}
}
