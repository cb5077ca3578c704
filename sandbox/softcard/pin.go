// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"

	"github.com/cardbroker/cardbroker/apdu"
)

// The values of a new card, as commands carry them.
const (
	factoryPIN = "123456\xFF\xFF"
	factoryPUK = "12345678"
)

// The references, SP 800-73-4 Part 2 §2.4.3.
const (
	referencePIN = 0x80
	referencePUK = 0x81
)

const (
	maxTries  = 3
	valueSize = 8 // bytes of a PIN or PUK in a command, filled up with FF
	saltSize  = 16
	hashSize  = sha256.Size
	hashCost  = 100_000 // rounds of PBKDF2: some 40 ms
	maxCost   = 10 * hashCost
)

// secret is a PIN or PUK: a hash of its value, and how often it may still be wrong.
type secret struct {
	Tries int    `json:"tries"`
	Salt  []byte `json:"salt,omitempty"` // Salt, Hash and Cost are absent while the value is the factory's
	Hash  []byte `json:"hash,omitempty"` // PBKDF2 with HMAC-SHA-256
	Cost  int    `json:"cost,omitempty"` // rounds
}

// newSecret returns a secret of the value.
func newSecret(value []byte) secret {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return secret{Tries: maxTries, Salt: salt, Hash: hashOf(value, salt, hashCost), Cost: hashCost}
}

// is compares, in time that does not depend on where the values differ.
func (s *secret) is(value []byte, factory string) bool {
	if s.Hash == nil {
		return subtle.ConstantTimeCompare(value, []byte(factory)) == 1
	}
	return subtle.ConstantTimeCompare(hashOf(value, s.Salt, s.Cost), s.Hash) == 1
}

// hashOf is PBKDF2, RFC 8018 §5.2, with HMAC-SHA-256, for one block. That of the standard library wants the value as a string,
// which nobody can overwrite.
func hashOf(value, salt []byte, cost int) []byte {
	mac := hmac.New(sha256.New, value)
	mac.Write(salt)
	mac.Write([]byte{0, 0, 0, 1}) // the first block, which is all
	u := mac.Sum(nil)
	hash := bytes.Clone(u)
	for range cost - 1 {
		mac.Reset()
		mac.Write(u)
		u = mac.Sum(u[:0])
		subtle.XORBytes(hash, hash, u)
	}
	return hash
}

// verify compares the PIN, or says how many tries are left (no data), or forgets that it was right (P1 FF, no data):
// SP 800-73-4 Part 2 §3.2.1.
func (p *piv) verify(c apdu.Command) apdu.StatusWord {
	switch {
	case c.P2 != referencePIN:
		return apdu.ReferenceNotFound
	case c.P1 == 0xFF && len(c.Data) == 0:
		p.verified, p.fresh = false, false
		return apdu.Success
	case c.P1 != 0x00:
		return apdu.IncorrectP1P2
	case len(c.Data) == 0 && p.verified:
		return apdu.Success
	case len(c.Data) == 0:
		return triesLeft(p.store.state.PIN)
	case !isPIN(c.Data):
		return apdu.IncorrectData
	}
	sw := p.compare(referencePIN, c.Data)
	p.verified = sw == apdu.Success
	p.fresh = p.verified
	return sw
}

// changeReferenceData replaces the PIN or the PUK by who knows it: old value, new value, Part 2 §3.2.2.
func (p *piv) changeReferenceData(c apdu.Command) apdu.StatusWord {
	switch {
	case c.P1 != 0x00:
		return apdu.IncorrectP1P2
	case c.P2 != referencePIN && c.P2 != referencePUK:
		return apdu.ReferenceNotFound
	case len(c.Data) != 2*valueSize || c.P2 == referencePIN && !isPIN(c.Data[valueSize:]):
		return apdu.IncorrectData
	}
	sw := p.compare(c.P2, c.Data[:valueSize])
	if sw == apdu.Success {
		sw = p.replace(c.P2, c.Data[valueSize:])
	}
	if c.P2 == referencePIN {
		p.verified = sw == apdu.Success
		p.fresh = false
	}
	return sw
}

// resetRetryCounter sets a new PIN by who knows the PUK: PUK, new PIN, Part 2 §3.2.3. The security status stays.
func (p *piv) resetRetryCounter(c apdu.Command) apdu.StatusWord {
	switch {
	case c.P1 != 0x00:
		return apdu.IncorrectP1P2
	case c.P2 != referencePIN:
		return apdu.ReferenceNotFound
	case len(c.Data) != 2*valueSize || !isPIN(c.Data[valueSize:]):
		return apdu.IncorrectData
	}
	if sw := p.compare(referencePUK, c.Data[:valueSize]); sw != apdu.Success {
		return sw
	}
	return p.replace(referencePIN, c.Data[valueSize:])
}

// isPIN says whether the value is 6 to 8 digits, filled up with FF.
func isPIN(value []byte) bool {
	digits := bytes.TrimRight(value, "\xFF")
	for _, d := range digits {
		if d < '0' || d > '9' {
			return false
		}
	}
	return len(value) == valueSize && len(digits) >= 6
}

// compare uses up a try, and saves that, before it compares: whoever cuts the power has lost the try. A right value
// brings all tries back.
func (p *piv) compare(reference byte, value []byte) apdu.StatusWord {
	if p.store.state.secret(reference).Tries == 0 {
		return apdu.AuthenticationBlocked
	}
	if !p.store.update(func(s *state) { s.secret(reference).Tries-- }) {
		return memoryFailure
	}
	factory := factoryPIN
	if reference == referencePUK {
		factory = factoryPUK
	}
	s := p.store.state.secret(reference)
	if !s.is(value, factory) {
		return apdu.TriesLeft(s.Tries)
	}
	if !p.store.update(func(s *state) { s.secret(reference).Tries = maxTries }) {
		return memoryFailure
	}
	return apdu.Success
}

// replace sets a new value, with all its tries.
func (p *piv) replace(reference byte, value []byte) apdu.StatusWord {
	fresh := newSecret(value)
	if !p.store.update(func(s *state) { *s.secret(reference) = fresh }) {
		return memoryFailure
	}
	return apdu.Success
}

func triesLeft(s secret) apdu.StatusWord {
	if s.Tries == 0 {
		return apdu.AuthenticationBlocked
	}
	return apdu.TriesLeft(s.Tries)
}
