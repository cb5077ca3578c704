// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"io"
	"os"
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

// parts is a list of locks that the kernel gives in so many parts.
type parts struct {
	t    *testing.T
	left []string
}

func (l *parts) Read(p []byte) (int, error) {
	if len(p) < os.Getpagesize() {
		l.t.Errorf("a read of %d bytes, which cuts what the kernel gives at one moment", len(p))
	}
	if len(l.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.left[0])
	l.left = l.left[1:]
	return n, nil
}

// TestLocksInParts: only a list that came at one moment is whole. A lock was passed over where one before it ended between two reads.
func TestLocksInParts(t *testing.T) {
	for _, test := range []struct {
		list  []string
		whole bool
	}{{nil, true}, {[]string{"1: a\n"}, true}, {[]string{"1: a\n", "2: b\n"}, false}} {
		if text, whole := locksIn(&parts{t, test.list}); whole != test.whole || text != strings.Join(test.list, "") {
			t.Errorf("locksIn of %q = %q, %v, want it whole: %v", test.list, text, whole, test.whole)
		}
	}
}
