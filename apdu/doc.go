// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package apdu is the language of smart cards: command and response APDUs, status words, command chaining and long
// answers, the answer to reset, and BER-TLV data objects, as ISO/IEC 7816-3 and 7816-4 have them. It turns bytes into
// values and back. It opens nothing, keeps nothing, and knows no card and no reader; all input is taken for hostile, and
// no function panics on any.
//
// What cannot be read is a [*SyntaxError], which names the byte.
package apdu

import "fmt"

// SyntaxError says which byte of an APDU, ATR or data object is wrong. It never repeats what the bytes are, beyond the
// one byte or length that is wrong, so that it is safe to show and to log.
type SyntaxError struct {
	What    string // "command APDU", "response APDU", "ATR", "TLV"
	Offset  int    // of the byte, from 0
	Problem string
}

// Error returns, for example, "command APDU: byte 4: Lc is 9, but 3 bytes follow".
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s: byte %d: %s", e.What, e.Offset, e.Problem)
}

func malformed(what string, offset int, format string, args ...any) error {
	return &SyntaxError{What: what, Offset: offset, Problem: fmt.Sprintf(format, args...)}
}
