// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11

import (
	"testing"

	"github.com/cardbroker/cardbroker/internal/token"
)

// TestInput: what a token is given. A card with a P-256 key takes no more than 32 bytes of a longer digest.
func TestInput(t *testing.T) {
	tests := []struct {
		name   string
		way    int
		scheme token.Scheme
		hash   token.Hash
		data   []byte
		bits   int
		size   int
		ok     bool
	}{
		{"a DigestInfo", 0, token.RSAPKCS1, token.SHA256, nil, 2048, 19 + 32, true},
		{"a DigestInfo of SHA-1", 0, token.RSAPKCS1, token.SHA1, nil, 2048, 15 + 20, true},
		{"a digest", 0, token.RSAPSS, token.SHA512, nil, 2048, 64, true},
		{"a digest that is cut", 0, token.ECDSA, token.SHA512, nil, 256, 32, true},
		{"a digest that is short", 0, token.ECDSA, token.SHA1, nil, 256, 20, true},
		{"a digest for P-521", 0, token.ECDSA, token.SHA512, nil, 521, 64, true},
		{"a curve that is not known", 0, token.ECDSA, token.SHA512, nil, 0, 64, true},
		{"data", 1, token.ECDSA, token.SHA256, []byte("data"), 256, 4, true},
		{"no data", 1, token.ECDSA, token.SHA256, nil, 256, 0, false},
	}
	for _, test := range tests {
		in := token.Input{Digest: make([]byte, test.hash.Size()), Data: test.data}
		got, ok := waysOf(test.scheme, test.hash)[test.way].input(test.scheme, test.hash, in, test.bits)
		if len(got) != test.size || ok != test.ok {
			t.Errorf("%s: %d bytes, %v, want %d, %v", test.name, len(got), ok, test.size, test.ok)
		}
	}
}
