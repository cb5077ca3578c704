// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

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
