// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"encoding/json"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/token"
)

// FuzzQuestion: a question that passes has all that its call uses, and digests of their hash's length.
func FuzzQuestion(f *testing.F) {
	f.Add([]byte(`{"call":"sign","sign":{"key":"AQ==","scheme":"rsa_pss","hash":"sha1","inputs":[{"digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}}`))
	f.Add([]byte(`{"call":"verify","verify":{"scheme":"ecdsa","hash":"sha256","signature":"AA=="}}`))
	f.Add([]byte(`{"call":"login","protected":true}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var q token.Question
		if json.Unmarshal(text, &q) != nil {
			return
		}
		if err := q.Check(); err != nil {
			if cardbroker.ReasonOf(err) != cardbroker.Invalid {
				t.Fatalf("Check = %v", err)
			}
			return
		}
		if least, most := q.Secrets(); least > most || q.Protected && most > 0 {
			t.Fatalf("%+v has %d to %d secrets", q, least, most)
		}
		switch q.Call {
		case token.CallSign:
			for _, in := range q.Sign.Inputs {
				if len(in.Digest) != q.Sign.Hash.Size() || len(in.Digest) == 0 {
					t.Fatalf("%+v passes", q.Sign)
				}
			}
		case token.CallVerify:
			if len(q.Verify.Input.Digest) != q.Verify.Hash.Size() || len(q.Verify.Signature) == 0 {
				t.Fatalf("%+v passes", q.Verify)
			}
		}
	})
}
