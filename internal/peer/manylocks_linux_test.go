// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"strings"
	"testing"
)

// crowd is a list of locks that gets no end, a page at a time.
type crowd struct{ read int }

func (c *crowd) Read(p []byte) (int, error) {
	if c.read > 4*maxLocks {
		panic("all of it is read")
	}
	n := copy(p[:4096], strings.Repeat("1: POSIX  ADVISORY  WRITE 1234 00:1f:5678 0 0\n", 90))
	c.read += n
	return n, nil
}

// TestManyLocks: of a list of locks that somebody has made very long the beginning is looked at, once. Each page takes the kernel longer.
func TestManyLocks(t *testing.T) {
	text, whole := locksIn(&crowd{})
	if len(text) < maxLocks || len(text) > maxLocks+4096 || !whole {
		t.Errorf("%d bytes of locks, to be read again: %v; want %d, once", len(text), !whole, maxLocks)
	}
}
