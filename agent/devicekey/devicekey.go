// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package devicekey has the key pairs that web pages encrypt PINs with: one set for each agent, made when the session begins
// and gone with it. The private halves are in the agent's memory and nowhere else. Existing clients know RSA with PKCS#1
// v1.5; the better way is a JWE to the P-256 key.
package devicekey

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"runtime/debug"
	"sync/atomic"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/jose"
	"github.com/cardbroker/cardbroker/internal/processors"
	"github.com/cardbroker/cardbroker/internal/run"
)

// rsaBits is what existing clients were measured with.
const rsaBits = 2048

// Keys are the key pairs of one agent. Any number of goroutines may use them.
type Keys struct {
	few   *processors.Few
	made  atomic.Pointer[pairs] // nil: not yet
	ready chan struct{}         // closed when they are made
}

// pairs is never changed.
type pairs struct {
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
	byID   map[string]sealedTo
	public api.DeviceKey
}

// sealedTo is a key that JWEs are encrypted to, and the one algorithm that it is for.
type sealedTo struct {
	algorithm string
	private   any
}

// New returns keys that are not made yet. few is the process's; nil: it has processors enough.
func New(few *processors.Few) *Keys { return &Keys{few: few, ready: make(chan struct{})} }

// Make makes the keys. It takes some hundred milliseconds of a processor, most of which it leaves to others where they want it. It is
// called once.
func (k *Keys) Make(ctx context.Context) error {
	var made *pairs
	back := k.few.Two() // nobody is to wait until the search has had its turn
	search := run.New(ctx)
	search.Go("search", func(context.Context) (err error) {
		yield()
		made, err = generate()
		return err
	})
	err := search.Wait()
	back()
	if err != nil || made == nil { // the agent ends
		return err
	}
	// What the search for primes and the agent's start have left, about 1 MiB: most agents are idle from now on. Everything else stands still
	// meanwhile, so that this is no work for the thread that has yielded; and who has his key is to have the processors, too.
	debug.FreeOSMemory()
	k.made.Store(made)
	close(k.ready)
	return nil
}

func generate() (*pairs, error) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	private, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, err
	}
	return newPairs(private, ec)
}

func newPairs(private *rsa.PrivateKey, ec *ecdsa.PrivateKey) (*pairs, error) {
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	p := &pairs{rsa: private, ec: ec, byID: map[string]sealedTo{}}
	p.public.PEM = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	for _, key := range []struct {
		algorithm       string
		public, private any
	}{{jose.ECDHES, &ec.PublicKey, ec}, {jose.RSAOAEP, &private.PublicKey, private}} {
		text, id, err := jose.PublicKey(key.public, key.algorithm)
		if err != nil {
			return nil, err
		}
		var jwk api.DeviceJWK
		if err := json.Unmarshal(text, &jwk); err != nil {
			return nil, err
		}
		p.public.Keys = append(p.public.Keys, jwk)
		p.byID[id] = sealedTo{key.algorithm, key.private}
	}
	p.public.Thumbprint = p.public.Keys[0].KeyID
	return p, nil
}

// Ready is closed when the keys are made.
func (k *Keys) Ready() <-chan struct{} { return k.ready }

// Public returns the public halves. Errors: Unavailable (they are not made yet).
func (k *Keys) Public() (api.DeviceKey, error) {
	made, err := k.pairs()
	if err != nil {
		return api.DeviceKey{}, err
	}
	return made.public, nil
}

// Thumbprint returns the one of the P-256 key, and "" until that is made.
func (k *Keys) Thumbprint() string {
	if made := k.made.Load(); made != nil {
		return made.public.Thumbprint
	}
	return ""
}

// OpenPKCS1 decrypts RSAES-PKCS1-v1_5, RFC 8017 §7.2.2, into text, which the caller clears. Whoever learns whether ok is true
// can decrypt what was sent to the key, by asking some ten thousand times: the caller goes on in the same way with either.
// Errors: Unavailable.
func (k *Keys) OpenPKCS1(blob []byte) (text []byte, ok bool, err error) {
	made, err := k.pairs()
	if err != nil {
		return nil, false, err
	}
	//lint:ignore SA1019 existing clients know no other way, and callers tell nobody whether the padding was right
	text, failed := rsa.DecryptPKCS1v15(nil, made.rsa, blob) // constant time but for its last branch
	return text, failed == nil, nil
}

// Has says whether a JWE was encrypted to a key of this agent, in the way which that key is for. Errors: Unavailable.
func (k *Keys) Has(s jose.Sealed) (bool, error) {
	made, err := k.pairs()
	if err != nil {
		return false, err
	}
	to, known := made.byID[s.KeyID]
	return known && to.algorithm == s.Algorithm, nil
}

// OpenJWE decrypts a JWE that [Keys.Has] a key for into text, which the caller clears.
func (k *Keys) OpenJWE(s jose.Sealed) (text []byte, ok bool) {
	made := k.made.Load()
	if made == nil {
		return nil, false
	}
	to, known := made.byID[s.KeyID]
	if !known || to.algorithm != s.Algorithm {
		return nil, false
	}
	return s.Open(to.private)
}

func (k *Keys) pairs() (*pairs, error) {
	if made := k.made.Load(); made != nil {
		return made, nil
	}
	return nil, cardbroker.Errorf(cardbroker.Unavailable, "the device key is being made; try again")
}
