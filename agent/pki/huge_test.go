// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pki"
	"github.com/cardbroker/cardbroker/internal/token"
)

// TestHugeKey: a certificate of a hostile card has a key with which one signature takes minutes. Nobody tries.
func TestHugeKey(t *testing.T) {
	for bits, want := range map[uint]cardbroker.Reason{16384: "", 16385: cardbroker.Unsupported, 1 << 24: cardbroker.Unsupported} {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		key := &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}
		digest := sha256.Sum256(nil)
		valid, err := pki.VerifyBy(key, token.Verify{
			Scheme: token.RSAPKCS1, Hash: token.SHA256, Input: token.Input{Digest: digest[:]}, Signature: make([]byte, (bits+7)/8),
		})
		if valid || cardbroker.ReasonOf(err) != want {
			t.Errorf("verified with a key of %d bits: %v, %v, want the reason %q", bits, valid, err, want)
		}
	}
}
