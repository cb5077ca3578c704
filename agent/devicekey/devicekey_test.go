// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package devicekey_test

import (
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/devicekey"
	"github.com/cardbroker/cardbroker/internal/jose"
	"github.com/cardbroker/cardbroker/test/sealed"
)

func TestKeys(t *testing.T) {
	keys := devicekey.New(nil)
	if _, err := keys.Public(); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Public = %v before there is a key, want unavailable", err)
	}
	if _, _, err := keys.OpenPKCS1(make([]byte, 256)); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("OpenPKCS1 = %v before there is a key, want unavailable", err)
	}
	select {
	case <-keys.Ready():
		t.Error("ready before there is a key")
	default:
	}
	start := time.Now()
	if err := keys.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("made in %v", time.Since(start))
	<-keys.Ready()
	public, err := keys.Public()
	if err != nil || len(public.Keys) != 2 || public.Thumbprint != public.Keys[0].KeyID || public.Keys[0].Type != "EC" || public.Keys[1].Type != "RSA" {
		t.Fatalf("Public = %+v, %v", public, err)
	}
	for i, jwk := range public.Keys {
		other := public.Keys[1-i]
		header := sealed.NewHeader(jwk, "reader", "n")
		header["kid"] = other.KeyID // each key is for its own algorithm
		text, err := sealed.JWE(jwk, header, []byte("123456"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := jose.ParseSealed(text)
		if err != nil {
			t.Fatal(err)
		}
		if has, err := keys.Has(s); has || err != nil {
			t.Errorf("Has = %v, %v of %s with the other's id", has, err, jwk.Algorithm)
		}
		if _, ok := keys.OpenJWE(s); ok {
			t.Errorf("OpenJWE opens %s with the other's id", jwk.Algorithm)
		}
	}
}

func BenchmarkOpenPKCS1(b *testing.B) {
	keys := devicekey.New(nil)
	if err := keys.Make(b.Context()); err != nil {
		b.Fatal(err)
	}
	blob := make([]byte, 256)
	blob[0] = 1
	for b.Loop() {
		keys.OpenPKCS1(blob)
	}
}
