// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"encoding/binary"
	"math"
)

// cursor takes values off the front of bytes. After the first that is not there all are zero, and err says where.
type cursor struct {
	rest []byte
	at   int    // in bytes, of rest
	what string // is read, for errors
	err  error
}

// bytes takes n bytes, which are a part of what is read, not a copy.
func (r *cursor) bytes(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.rest) {
		r.fail("it ends in the middle of a value")
		return nil
	}
	b := r.rest[:n:n]
	r.rest, r.at = r.rest[n:], r.at+n
	return b
}

func (r *cursor) u8() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *cursor) u16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// u32 takes a number that has to be in the range of an int32.
func (r *cursor) u32() uint32 {
	b := r.bytes(4)
	if b == nil {
		return 0
	}
	n := binary.BigEndian.Uint32(b)
	if n > math.MaxInt32 {
		r.fail("a number is over %d", math.MaxInt32)
		return 0
	}
	return n
}

// count takes how many elements a list has.
func (r *cursor) count(limit int) int {
	n := int(r.u8())
	if n > limit {
		r.fail("a list has %d elements, want %d or fewer", n, limit)
		return 0
	}
	return n
}

// name takes a name, or "".
func (r *cursor) name() string {
	s := string(r.bytes(int(r.u8())))
	if s != "" && !isName(s) {
		r.fail("a name is none: %s", nameRule)
	}
	return s
}

// end says whether all is read.
func (r *cursor) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail("%d bytes are left over", len(r.rest))
	}
	return r.err
}

func (r *cursor) fail(format string, args ...any) {
	if r.err == nil {
		r.err = invalid("byte %d of %s: "+format, append([]any{r.at, r.what}, args...)...)
	}
}
