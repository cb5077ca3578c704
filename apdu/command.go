// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

import (
	"encoding/binary"
	"fmt"
)

// Sizes in bytes.
const (
	MinCommand  = 4                   // the header alone
	MaxCommand  = 4 + 3 + MaxData + 2 // 65,544
	MaxData     = 65535               // of a command in the extended form
	MaxShort    = 255                 // of a command's data in the short form
	MaxLe       = 65536               // in the extended form
	MaxShortLe  = 256                 // in the short form
	MinResponse = 2                   // the status word alone
	MaxResponse = MaxLe + MinResponse // 65,538
)

// Command is a command APDU, ISO/IEC 7816-3 §12.1.
type Command struct {
	CLA, INS, P1, P2 byte
	Data             []byte // up to 255 bytes, in the extended form up to 65,535
	Le               int    // most bytes wanted in the answer; 0: no Le field; up to 256, in the extended form up to 65,536
	Extended         bool   // Lc and Le are in the extended form: the card must support it
}

// ParseCommand reads a command APDU of 4 to 65,544 bytes in any of the cases 1, 2S, 3S, 4S, 2E, 3E and 4E, and of
// nothing else. Data is part of b, not a copy. Errors: [*SyntaxError].
func ParseCommand(b []byte) (Command, error) {
	if len(b) < MinCommand || len(b) > MaxCommand {
		return Command{}, commandError(len(b), "the length is %d, want %d to %d", len(b), MinCommand, MaxCommand)
	}
	c := Command{CLA: b[0], INS: b[1], P1: b[2], P2: b[3]}
	switch body := b[4:]; {
	case len(body) == 0: // case 1
	case len(body) == 1: // case 2S
		c.Le = shortLe(body[0])
	case body[0] != 0: // cases 3S, 4S
		return c.withBody(body, 1)
	case len(body) == 2:
		return Command{}, commandError(4, "Lc is 0")
	case len(body) == 3: // case 2E
		c.Extended = true
		c.Le = extendedLe(body[1:])
	default: // cases 3E, 4E
		c.Extended = true
		return c.withBody(body, 3)
	}
	return c, nil
}

// withBody reads an Lc field of n bytes, the data and, if more follows, an Le field.
func (c Command) withBody(body []byte, n int) (Command, error) {
	lc, le, at := int(body[0]), 1, 4
	if c.Extended {
		lc, le, at = int(binary.BigEndian.Uint16(body[1:])), 2, 5
	}
	rest := body[n:]
	switch {
	case lc == 0:
		return Command{}, commandError(at, "Lc is 0")
	case len(rest) < lc:
		return Command{}, commandError(at, "Lc is %d, but %d bytes follow", lc, len(rest))
	case len(rest) != lc && len(rest) != lc+le:
		return Command{}, commandError(4+n+lc, "%d bytes follow the data, want none or an Le of %d", len(rest)-lc, le)
	}
	c.Data, rest = rest[:lc:lc], rest[lc:]
	switch len(rest) {
	case 1:
		c.Le = shortLe(rest[0])
	case 2:
		c.Le = extendedLe(rest)
	}
	return c, nil
}

func shortLe(b byte) int { return (int(b)+255)%256 + 1 } // 0 means 256

func extendedLe(b []byte) int { return (int(binary.BigEndian.Uint16(b))+65535)%65536 + 1 } // 0 means 65,536

// Append appends the command APDU to dst. A command without data and Le has four bytes, whatever Extended says. Data or
// Le over what the form can carry is an error, and dst is returned as it was.
func (c Command) Append(dst []byte) ([]byte, error) {
	maxData, maxLe := MaxShort, MaxShortLe
	if c.Extended {
		maxData, maxLe = MaxData, MaxLe
	}
	if len(c.Data) > maxData {
		return dst, commandError(4, "the data have %d bytes, want %d or fewer", len(c.Data), maxData)
	}
	if c.Le < 0 || c.Le > maxLe {
		return dst, commandError(4+len(c.Data), "Le is %d, want 0 to %d", c.Le, maxLe)
	}
	dst = append(dst, c.CLA, c.INS, c.P1, c.P2)
	if !c.Extended {
		if len(c.Data) > 0 {
			dst = append(append(dst, byte(len(c.Data))), c.Data...)
		}
		if c.Le > 0 {
			dst = append(dst, byte(c.Le)) // 256 becomes 0
		}
		return dst, nil
	}
	if len(c.Data) > 0 || c.Le > 0 {
		dst = append(dst, 0)
	}
	if len(c.Data) > 0 {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(c.Data)))
		dst = append(dst, c.Data...)
	}
	if c.Le > 0 {
		dst = binary.BigEndian.AppendUint16(dst, uint16(c.Le)) // 65,536 becomes 0
	}
	return dst, nil
}

// String returns the header and the lengths, such as "00A40400 Lc 9 Le 256", and never the data, which may hold a PIN.
func (c Command) String() string {
	return fmt.Sprintf("%02X%02X%02X%02X Lc %d Le %d", c.CLA, c.INS, c.P1, c.P2, len(c.Data), c.Le)
}

func commandError(offset int, format string, args ...any) error {
	return malformed("command APDU", offset, format, args...)
}
