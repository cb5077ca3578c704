// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// secretMask is all that a Secret ever shows of itself.
const secretMask = "[secret]"

// Secret is a value that must not be seen: a PIN, a claim, a ticket's secret. Every way to print, log or marshal it
// gives a mask; [Secret.Reveal] is the one way to its bytes and stands where they are used. The zero Secret is empty
// and equals nothing.
type Secret struct {
	bytes func() []byte // a function, because fmt looks into unexported fields, where it calls no String or Format
}

// NewSecret takes b over: the caller must not use it afterwards.
func NewSecret(b []byte) Secret {
	return Secret{bytes: func() []byte { return b }}
}

// RandomSecretSize is the length of the text of a [RandomSecret], in bytes.
const RandomSecretSize = 43

// RandomSecret returns 32 bytes from the system's random source as 43 characters of base64url text.
func RandomSecret() Secret {
	var raw [32]byte
	rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	text := make([]byte, base64.RawURLEncoding.EncodedLen(len(raw)))
	base64.RawURLEncoding.Encode(text, raw[:])
	clear(raw[:])
	return NewSecret(text)
}

// Reveal returns the bytes themselves, not a copy.
func (s Secret) Reveal() []byte {
	if s.bytes == nil {
		return nil
	}
	return s.bytes()
}

// Hash returns the SHA-256 of the secret: right for random secrets, never for PINs, which it would give away.
func (s Secret) Hash() [32]byte { return sha256.Sum256(s.Reveal()) }

// Matches says, in time that does not depend on the answer, whether the secret has this [Secret.Hash]. An empty secret
// matches nothing.
func (s Secret) Matches(hash [32]byte) bool {
	h := s.Hash()
	return subtle.ConstantTimeCompare(h[:], hash[:]) == 1 && !s.Empty()
}

// Empty says whether there is no secret at all.
func (s Secret) Empty() bool { return len(s.Reveal()) == 0 }

// String returns the mask.
func (s Secret) String() string { return secretMask }

// GoString returns the mask.
func (s Secret) GoString() string { return secretMask }

// Format writes the mask for every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, secretMask) }

// LogValue returns the mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(secretMask) }

// MarshalText refuses: a secret is put into a message on purpose, by Reveal, or not at all.
func (s Secret) MarshalText() ([]byte, error) {
	return nil, errors.New("a secret is not marshalled")
}
