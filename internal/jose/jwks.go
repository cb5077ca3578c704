// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardbroker/cardbroker"
)

const (
	maxKeys    = 64   // in a set
	minRSABits = 2048 // NIST SP 800-131A
	maxRSABits = 8192 // more makes each look at a forged token expensive
)

// KeySet is a set of public keys by which tokens are verified (RFC 7517 §5). It never changes.
type KeySet struct{ keys []jose.JSONWebKey }

// ParseKeySet reads a JWK set. It wants public keys for signatures, RSA of 2048 to 8192 bits, EC on a NIST curve or Ed25519,
// each with a kid of its own; keys for encryption are passed over. A private or symmetric key is refused, as whoever published it has
// given it away. Errors: Invalid.
func ParseKeySet(text []byte) (KeySet, error) {
	var raw jose.JSONWebKeySet
	if err := json.Unmarshal(text, &raw); err != nil {
		return KeySet{}, cardbroker.Errorf(cardbroker.Invalid, "the key set is not JSON of public keys")
	}
	if len(raw.Keys) > maxKeys {
		return KeySet{}, cardbroker.Errorf(cardbroker.Invalid, "the key set has %d keys, more than %d", len(raw.Keys), maxKeys)
	}
	var set KeySet
	for i, key := range raw.Keys {
		if key.Use == "enc" {
			continue
		}
		if err := checkKey(key); err != nil {
			return KeySet{}, cardbroker.Errorf(cardbroker.Invalid, "key %d of the set %s", i, err.Error())
		}
		if set.Has(key.KeyID) {
			return KeySet{}, cardbroker.Errorf(cardbroker.Invalid, "key %d of the set has the kid of another", i)
		}
		set.keys = append(set.keys, key)
	}
	if len(set.keys) == 0 {
		return KeySet{}, cardbroker.Errorf(cardbroker.Invalid, "the key set has no key for signatures")
	}
	return set, nil
}

// checkKey says what is wrong with a key, to be said of "key n of the set".
func checkKey(key jose.JSONWebKey) error {
	wrong := func(text string) error { return cardbroker.Errorf(cardbroker.Invalid, "%s", text) }
	if key.KeyID == "" {
		return wrong("has no kid")
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return wrong("is RSA of a size that is not accepted")
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return wrong("is no public key")
	}
	if !key.Valid() {
		return wrong("is not valid")
	}
	return nil
}

// Has says whether the set has a key of that name.
func (s KeySet) Has(kid string) bool {
	_, ok := s.key(kid)
	return ok
}

func (s KeySet) key(kid string) (jose.JSONWebKey, bool) {
	for _, key := range s.keys {
		if key.KeyID == kid {
			return key, true
		}
	}
	return jose.JSONWebKey{}, false
}
