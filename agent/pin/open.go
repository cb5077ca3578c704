// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/jose"
	"github.com/cardbroker/cardbroker/internal/pinpad"
)

const (
	maxClear   = 64               // bytes of a text that may be a PIN in clear
	rsaBlob    = 2048 / 8         // bytes of RSAES-PKCS1-v1_5
	sealedType = "pin+jwe"        // typ of a JWE that holds a PIN
	sealedTime = 60 * time.Second // from now to exp, at most
)

// Keys open what was encrypted to the device key; a devicekey.Keys does.
type Keys interface {
	// OpenPKCS1 decrypts RSAES-PKCS1-v1_5. The caller does the same whether ok is true or not.
	OpenPKCS1(blob []byte) (text []byte, ok bool, err error)
	// Has says whether a JWE is for one of the keys.
	Has(s jose.Sealed) (bool, error)
	// OpenJWE decrypts it.
	OpenJWE(s jose.Sealed) (text []byte, ok bool)
}

// open returns the PIN of a field. What was encrypted and is no use is answered in one way, whatever is the matter with it:
// who could tell a wrong padding from a wrong PIN would decrypt with our key (Bleichenbacher). Errors: Invalid;
// PINNotEncrypted; Forbidden with RulePINChallenge; Unavailable.
func (k *Keeper) open(ctx context.Context, w *Wish, f *Field) (cardbroker.Secret, error) {
	defer f.Wipe()
	switch n := len(f.text.Reveal()); {
	case f.sealed():
		return k.openSealed(ctx, w, f)
	case n == base64.StdEncoding.EncodedLen(rsaBlob), n == base64.StdEncoding.EncodedLen(rsaBlob-1):
		return k.openPKCS1(w.Shape, f)
	case n > maxClear:
		return cardbroker.Secret{}, cardbroker.Errorf(cardbroker.Invalid, "a PIN is a JWE, or base64 of %d bytes", rsaBlob)
	case !k.cfg.Policy.Clear:
		return cardbroker.Secret{}, cardbroker.Refusef(cardbroker.PINNotEncrypted, cardbroker.RulePINClear,
			"this PIN is not encrypted; fetch the agent's device key and encrypt it")
	}
	return w.Shape.take(f.text.Reveal(), true)
}

// openPKCS1 opens what JSEncrypt sends: a number, of which it leaves out the bytes in front that are zero, against RFC 8017 §4.1. One PIN
// in 150 is so.
func (k *Keeper) openPKCS1(shape Shape, f *Field) (cardbroker.Secret, error) {
	var blob [rsaBlob + 2]byte // Decode wants room for the padding of base64
	n, err := base64.StdEncoding.Strict().Decode(blob[:], f.text.Reveal())
	if err != nil || n > rsaBlob {
		return cardbroker.Secret{}, cardbroker.Errorf(cardbroker.Invalid, "a PIN is a JWE, or base64 of %d bytes", rsaBlob)
	}
	var whole [rsaBlob]byte
	copy(whole[rsaBlob-n:], blob[:n])
	text, ok, err := k.cfg.Keys.OpenPKCS1(whole[:])
	if err != nil {
		return cardbroker.Secret{}, err
	}
	return shape.take(text, ok)
}

// openSealed opens a JWE. Its header is no secret, so each of its faults has a name.
func (k *Keeper) openSealed(ctx context.Context, w *Wish, f *Field) (cardbroker.Secret, error) {
	s, err := jose.ParseSealed(string(f.text.Reveal()))
	if err != nil {
		return cardbroker.Secret{}, err
	}
	known, err := k.cfg.Keys.Has(s)
	if err != nil {
		return cardbroker.Secret{}, err
	}
	left := time.Until(s.Expires)
	switch {
	case s.Type != sealedType:
		return cardbroker.Secret{}, refuseSealed("its typ is not " + sealedType)
	case !known:
		return cardbroker.Secret{}, refuseSealed("it was encrypted to another key")
	case s.Audience != string(w.ID):
		return cardbroker.Secret{}, refuseSealed("it is for another reader")
	case left <= 0:
		return cardbroker.Secret{}, refuseSealed("it has expired")
	case left > sealedTime+time.Second: // exp has whole seconds
		return cardbroker.Secret{}, refuseSealed("it expires too late")
	}
	if err := k.burn(ctx, w.Origin, s.Nonce); err != nil {
		return cardbroker.Secret{}, err
	}
	return w.Shape.take(k.cfg.Keys.OpenJWE(s))
}

func refuseSealed(why string) error {
	return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RulePINChallenge, "the PIN's JWE is refused: %s", why)
}

// Shape is what a PIN looks like.
type Shape struct {
	Min, Max int  // characters, at most pinpad.MaxPIN
	Digits   bool // else printable ASCII
}

// take makes a PIN of a text, which it overwrites. That takes the same steps and the same time for each text and for none:
// ok false. Errors: Invalid, always the same.
func (s Shape) take(text []byte, ok bool) (cardbroker.Secret, error) {
	defer clear(text)
	low, high := '!', '~'
	if s.Digits {
		low, high = '0', '9'
	}
	n := len(text)
	var buf [pinpad.MaxPIN]byte
	copy(buf[:], text)
	good := subtle.ConstantTimeLessOrEq(s.Min, n) & subtle.ConstantTimeLessOrEq(n, min(s.Max, len(buf)))
	for i, c := range buf {
		inside := subtle.ConstantTimeLessOrEq(int(low), int(c)) & subtle.ConstantTimeLessOrEq(int(c), int(high))
		good &= inside | subtle.ConstantTimeLessOrEq(n, i)
	}
	if !ok {
		good = 0
	}
	if good == 0 {
		clear(buf[:])
		return cardbroker.Secret{}, cardbroker.Errorf(cardbroker.Invalid,
			"this is no PIN that fits, or it was not encrypted to this agent's device key")
	}
	pin := make([]byte, n)
	copy(pin, buf[:])
	clear(buf[:])
	return cardbroker.NewSecret(pin), nil
}
