// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"testing"
)

// TestHashOf compares with the standard library: files of cards are read by it.
func TestHashOf(t *testing.T) {
	for _, cost := range []int{1, 2, 1000} {
		want, err := pbkdf2.Key(sha256.New, "123456\xFF\xFF", []byte("salt"), cost, hashSize)
		if got := hashOf([]byte("123456\xFF\xFF"), []byte("salt"), cost); err != nil || !bytes.Equal(got, want) {
			t.Errorf("hashOf with %d rounds = %x, want %x (%v)", cost, got, want, err)
		}
	}
}
