// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pinpad

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/cardbroker/cardbroker"
)

// The instructions that a PIN may be put into, ISO/IEC 7816-4 §11.6.
const (
	insVerify = 0x20 // VERIFY
	insChange = 0x24 // CHANGE REFERENCE DATA
	insReset  = 0x2C // RESET RETRY COUNTER
)

// The sizes of the structures before abData, in bytes; they are packed.
const (
	verifySize = 19
	modifySize = 24
)

// Entry is one use of a pin pad: what to ask the user for, and the command that it goes into. Only an Entry whose command
// was judged exists.
type Entry struct {
	Old, New bool          // which PINs are asked for: the present one, or the code that unblocks; a new one
	Repeat   bool          // the new one twice
	Min, Max int           // characters of each, MinPIN to MaxPIN
	Digits   bool          // they are digits; else printable ASCII
	Timeout  time.Duration // that the program wants; 0: the pin pad's own

	header   [4]byte // of the command
	data     []byte  // of the command, without the PINs
	layout   layout
	old, new span // where the PINs go
}

// Unblocks says whether the command is RESET RETRY COUNTER: Old is a code that unblocks.
func (e *Entry) Unblocks() bool { return e.header[1] == insReset }

// Header returns CLA, INS, P1 and P2 of the command.
func (e *Entry) Header() [4]byte { return e.header }

// Reference is P2 of the command: which PIN of the card's it is about.
func (e *Entry) Reference() byte { return e.header[3] }

// ParseVerify reads a PIN_VERIFY_STRUCTURE, PC/SC Part 10 §2.5.2, little-endian, and judges its command. Errors: Invalid,
// and Forbidden with RuleFirewall for what a pin pad must not do.
func ParseVerify(p []byte) (*Entry, error) {
	if len(p) < verifySize {
		return nil, invalid("PIN_VERIFY_STRUCTURE has %d bytes, want %d or more", len(p), verifySize)
	}
	e := &Entry{Old: true, Timeout: time.Duration(p[0]) * time.Second}
	if err := e.read(p, p[2:5], p[5:], verifySize); err != nil {
		return nil, err
	}
	if e.header[1] != insVerify {
		return nil, forbidden("a pin pad verifies a PIN with VERIFY, not with the instruction %02X", e.header[1])
	}
	if e.header[2] != 0 {
		return nil, forbidden("VERIFY has P1 %02X, want 00", e.header[2])
	}
	return e, e.place(0, 0)
}

// ParseModify reads a PIN_MODIFY_STRUCTURE, PC/SC Part 10 §2.5.3, as [ParseVerify] does its structure.
func ParseModify(p []byte) (*Entry, error) {
	if len(p) < modifySize {
		return nil, invalid("PIN_MODIFY_STRUCTURE has %d bytes, want %d or more", len(p), modifySize)
	}
	confirm := p[9]
	if confirm > 3 {
		return nil, invalid("byte 9 of PIN_MODIFY_STRUCTURE: bConfirmPIN %02X, want 00 to 03", confirm)
	}
	e := &Entry{Old: confirm&2 != 0, New: true, Repeat: confirm&1 != 0, Timeout: time.Duration(p[0]) * time.Second}
	if err := e.read(p, p[2:5], p[7:], modifySize); err != nil {
		return nil, err
	}
	newOnly := byte(1) // P1 of a command without the present PIN
	switch e.header[1] {
	case insChange:
	case insReset:
		newOnly = 2
	default:
		return nil, forbidden("a pin pad changes a PIN with CHANGE REFERENCE DATA or RESET RETRY COUNTER, not with the instruction %02X", e.header[1])
	}
	if p1 := e.header[2]; p1 != 0 && (p1 != newOnly || e.Old) {
		return nil, forbidden("a command that changes a PIN has P1 %02X, which does not fit the PINs asked for", p1)
	}
	return e, e.place(int(p[5]), int(p[6]))
}

// read reads what the structures have in common: format is bmFormatString and the two after it, size begins with
// wPINMaxExtraDigit. It takes copies.
func (e *Entry) read(p, format, size []byte, header int) (err error) {
	if e.layout, err = parseLayout(format); err != nil {
		return err
	}
	data := p[header:]
	if n := binary.LittleEndian.Uint32(p[header-4:]); uint64(n) != uint64(len(data)) {
		return invalid("ulDataLength is %d, but %d bytes follow", n, len(data))
	}
	e.Max, e.Min = int(size[0]), int(size[1])
	if e.Max < e.Min || e.Max == 0 {
		return invalid("wPINMaxExtraDigit: a PIN of %d to %d characters", e.Min, e.Max)
	}
	if e.Max < MinPIN {
		return forbidden("a PIN of %d characters at most is too short for a pin pad: the template could know the rest", e.Max)
	}
	e.Digits = e.layout.encoding != ascii
	switch {
	case len(data) < len(e.header):
		return invalid("the command for a PIN has %d bytes, want 4 or more", len(data))
	case len(data) > 4+1+maxData:
		return forbidden("the command for a PIN has %d bytes, want a short one", len(data))
	case len(data) > 4 && int(data[4]) != len(data)-5:
		return forbidden("the command for a PIN has an Lc of %d, but %d bytes follow", data[4], len(data)-5)
	}
	e.header = [4]byte(data)
	if len(data) > 5 {
		e.data = bytes.Clone(data[5:])
	}
	if e.header[0] != 0 { // no other channel, chain, secure messaging or proprietary meaning, and not the reader's own
		return forbidden("the command for a PIN has the class %02X, want 00", e.header[0])
	}
	return nil
}

// maxData is the most data of a short command.
const maxData = 255

func invalid(format string, args ...any) error {
	return cardbroker.Errorf(cardbroker.Invalid, format, args...)
}

func forbidden(format string, args ...any) error {
	return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, format, args...)
}
