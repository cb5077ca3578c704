// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

import "slices"

// ATR is an answer to reset, ISO/IEC 7816-3 §8.2.
type ATR struct {
	Inverse    bool            // TS says inverse convention
	Interface  []InterfaceByte // TA1, TB1, … in the order of the ATR
	Historical []byte          // up to 15 bytes, ISO/IEC 7816-4 §12.1.1
	Protocols  []int           // the T offered, the first offered first; T = 15 is none
}

// InterfaceByte is one of an ATR's interface bytes, ISO/IEC 7816-3 §8.2.3.
type InterfaceByte struct {
	Kind  byte // 'A', 'B', 'C' or 'D'
	Index int  // the i of TAi, from 1
	T     int  // the protocol that it belongs to; for the first group 0, for global bytes 15
	Value byte
}

// maxATR is TS and the 32 characters after it.
const maxATR = 33

// ParseATR reads an answer to reset of 2 to 33 bytes. TCK must be there and right where a protocol other than T=0 is
// indicated, and must not be there otherwise, ISO/IEC 7816-3 §8.2.5. Historical is part of b. Errors: [*SyntaxError].
func ParseATR(b []byte) (ATR, error) {
	switch {
	case len(b) < 2 || len(b) > maxATR:
		return ATR{}, atrError(len(b), "the length is %d, want 2 to %d", len(b), maxATR)
	case b[0] != 0x3B && b[0] != 0x3F:
		return ATR{}, atrError(0, "TS is %02X, want 3B or 3F", b[0])
	}
	a := ATR{Inverse: b[0] == 0x3F}
	at, needTCK, err := a.parseInterface(b)
	if err != nil {
		return ATR{}, err
	}
	end := at + int(b[1]&0x0F)
	if end > len(b) {
		return ATR{}, atrError(len(b), "ends within the %d historical bytes", b[1]&0x0F)
	}
	a.Historical = b[at:end:end]
	if needTCK {
		if end == len(b) {
			return ATR{}, atrError(end, "TCK is missing")
		}
		sum := byte(0)
		for _, c := range b[1 : end+1] {
			sum ^= c
		}
		if sum != 0 {
			return ATR{}, atrError(end, "TCK is %02X, want %02X", b[end], b[end]^sum)
		}
		end++
	}
	if end != len(b) {
		return ATR{}, atrError(end, "%d bytes too many", len(b)-end)
	}
	return a, nil
}

// parseInterface reads the interface bytes, from T0 on. It returns the offset behind them and whether TCK must follow.
func (a *ATR) parseInterface(b []byte) (at int, needTCK bool, err error) {
	at = 2
	t := 0
	for index, y := 1, b[1]>>4; y != 0; index++ {
		next := byte(0)
		for kind := range byte(4) {
			if y&(1<<kind) == 0 {
				continue
			}
			if at == len(b) {
				return 0, false, atrError(at, "ends before T%c%d", 'A'+kind, index)
			}
			a.Interface = append(a.Interface, InterfaceByte{Kind: 'A' + kind, Index: index, T: t, Value: b[at]})
			if kind == 3 {
				next = b[at]
				needTCK = needTCK || next&0x0F != 0
				if !a.offer(int(next & 0x0F)) {
					return 0, false, atrError(at, "TD1 indicates T=15")
				}
			}
			at++
		}
		y, t = next>>4, int(next&0x0F)
	}
	if len(a.Protocols) == 0 {
		a.Protocols = []int{0}
	}
	return at, needTCK, nil
}

// offer notes the protocol t of a TD byte. It refuses T = 15 where the first offered protocol is due.
func (a *ATR) offer(t int) bool {
	if t == 15 {
		return len(a.Protocols) > 0
	}
	if !slices.Contains(a.Protocols, t) {
		a.Protocols = append(a.Protocols, t)
	}
	return true
}

func atrError(offset int, format string, args ...any) error {
	return malformed("ATR", offset, format, args...)
}
