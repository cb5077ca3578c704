// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

import "encoding/binary"

// Response is a response APDU, ISO/IEC 7816-3 §12.1.
type Response struct {
	Data []byte // up to 65,536 bytes
	SW   StatusWord
}

// ParseResponse reads a response APDU of 2 to 65,538 bytes. Data is part of b, not a copy. Errors: [*SyntaxError].
func ParseResponse(b []byte) (Response, error) {
	if len(b) < MinResponse || len(b) > MaxResponse {
		return Response{}, malformed("response APDU", len(b), "the length is %d, want %d to %d", len(b), MinResponse, MaxResponse)
	}
	n := len(b) - 2
	return Response{Data: b[:n:n], SW: StatusWord(binary.BigEndian.Uint16(b[n:]))}, nil
}

// Append appends the response APDU to dst.
func (r Response) Append(dst []byte) []byte { return r.SW.Append(append(dst, r.Data...)) }
