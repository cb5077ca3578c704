// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pkcs11_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// newHSM makes a SoftHSM.
func newHSM(t testing.TB) *tokenbed.HSM {
	t.Helper()
	if err := tokenbed.Supported(); err != nil {
		testenv.Skip(t, err.Error())
	}
	h, err := tokenbed.NewHSM(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// digest hashes data.
func digest(h token.Hash, data []byte) ([]byte, crypto.Hash) {
	switch h {
	case token.SHA1:
		d := sha1.Sum(data)
		return d[:], crypto.SHA1
	case token.SHA256:
		d := sha256.Sum256(data)
		return d[:], crypto.SHA256
	case token.SHA384:
		d := sha512.Sum384(data)
		return d[:], crypto.SHA384
	}
	d := sha512.Sum512(data)
	return d[:], crypto.SHA512
}

// check verifies a signature in Go with the certificate's key.
func check(der []byte, scheme token.Scheme, h token.Hash, data, signature []byte) error {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	sum, name := digest(h, data)
	switch scheme {
	case token.RSAPKCS1:
		return rsa.VerifyPKCS1v15(certificate.PublicKey.(*rsa.PublicKey), name, sum, signature)
	case token.RSAPSS:
		return rsa.VerifyPSS(certificate.PublicKey.(*rsa.PublicKey), name, sum, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	half := len(signature) / 2
	r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
	if !ecdsa.Verify(certificate.PublicKey.(*ecdsa.PublicKey), sum, r, s) {
		return fmt.Errorf("%d bytes, which are no signature", len(signature))
	}
	return nil
}

// signing is a question for signatures of data.
func signing(id byte, scheme token.Scheme, h token.Hash, data ...string) token.Question {
	q := token.Question{Call: token.CallSign, Sign: &token.Sign{Key: []byte{id}, Scheme: scheme, Hash: h}}
	for _, d := range data {
		sum, _ := digest(h, []byte(d))
		q.Sign.Inputs = append(q.Sign.Inputs, token.Input{Digest: sum, Data: []byte(d)})
	}
	return q
}

// certificates returns those of the token by id.
func (c *child) certificates(stream uint8, secrets ...string) map[byte]token.Certificate {
	c.t.Helper()
	answer, err := c.Ask(stream, token.Question{Call: token.CallObjects}, secrets...)
	if err != nil {
		c.t.Fatalf("objects: %v", err)
	}
	all := make(map[byte]token.Certificate)
	for _, one := range answer.Certificates {
		all[one.ID[0]] = one
	}
	return all
}

// signs says what a key signs by.
type signs struct {
	id     byte
	scheme token.Scheme
}

// schemes are those of the keys 01 and 02.
func schemes() []signs { return []signs{{1, token.RSAPKCS1}, {1, token.RSAPSS}, {2, token.ECDSA}} }

func hashes() []token.Hash { return []token.Hash{token.SHA1, token.SHA256, token.SHA384, token.SHA512} }

func TestSoftHSM(t *testing.T) {
	h := newHSM(t)
	c := start(t, h.Library, h.Env()...)
	slot := c.slot(h.Label)
	t.Run("Info", func(t *testing.T) {
		answer, err := c.Ask(0, token.Question{Call: token.CallInfo})
		if err != nil || answer.Library.Manufacturer != "SoftHSM" || answer.Library.Cryptoki != "2.40" {
			t.Errorf("info: %+v, %v", answer.Library, err)
		}
	})
	t.Run("Token", func(t *testing.T) {
		answer, err := c.Ask(slot.Stream, token.Question{Call: token.CallToken})
		if err != nil || answer.Token.Label != h.Label || answer.Token.Flags&token.FlagLoginRequired == 0 {
			t.Fatalf("token: %+v, %v", answer.Token, err)
		}
		names := make(map[string]bool)
		for _, m := range answer.Token.Mechanisms {
			names[m.Name] = true
			if m.Name == "" {
				t.Logf("mechanism 0x%X has no name", m.Type)
			}
		}
		for _, name := range []string{"CKM_RSA_PKCS", "CKM_RSA_PKCS_PSS", "CKM_ECDSA", "CKM_SHA256_RSA_PKCS"} {
			if !names[name] {
				t.Errorf("no mechanism is called %s: %v", name, names)
			}
		}
	})
	public := c.certificates(slot.Stream)
	t.Run("Objects", func(t *testing.T) {
		private := c.certificates(slot.Stream, h.PIN)
		for id, want := range map[byte]token.Key{1: {Type: "rsa", Bits: 2048, Sign: true}, 2: {Type: "ec", Bits: 256, Sign: true}} {
			for when, got := range map[string]token.Certificate{"without a PIN": public[id], "with the PIN": private[id]} {
				if got.Key == nil || got.Key.Type != want.Type || got.Key.Bits != want.Bits || !got.Key.Sign || got.Label != fmt.Sprintf("key %02d", id) {
					t.Errorf("%s: certificate %d is %q, %+v, want %+v", when, id, got.Label, got.Key, want)
				}
				if _, err := x509.ParseCertificate(got.DER); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for _, s := range schemes() {
		for _, hash := range hashes() {
			t.Run(fmt.Sprintf("Sign/%s/%s", s.scheme, hash), func(t *testing.T) {
				answer, err := c.Ask(slot.Stream, signing(s.id, s.scheme, hash, "one", "two"), h.PIN)
				if err != nil || len(answer.Signatures) != 2 {
					t.Fatalf("sign: %d signatures, %v", len(answer.Signatures), err)
				}
				for i, data := range []string{"one", "two"} {
					if err := check(public[s.id].DER, s.scheme, hash, []byte(data), answer.Signatures[i]); err != nil {
						t.Errorf("signature %d: %v", i, err)
					}
				}
				c.verifies(t, slot.Stream, signing(s.id, s.scheme, hash, "one"), answer.Signatures)
			})
		}
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	for _, said := range []string{c.Said.String(), c.Printed.String()} {
		if strings.Contains(said, h.PIN) {
			t.Errorf("it says the PIN: %s", said)
		}
	}
}

// verifies has the token verify the first signature, and refuse the second one.
func (c *child) verifies(t *testing.T, stream uint8, q token.Question, signatures [][]byte) {
	t.Helper()
	for i, signature := range signatures {
		answer, err := c.Ask(stream, token.Question{Call: token.CallVerify, Verify: &token.Verify{
			Key: q.Sign.Key, Scheme: q.Sign.Scheme, Hash: q.Sign.Hash, Input: q.Sign.Inputs[0], Signature: signature}})
		if err != nil || answer.Valid != (i == 0) {
			t.Errorf("verify %d: %v, %v", i, answer.Valid, err)
		}
	}
}

func TestSoftHSMRefuses(t *testing.T) {
	h := newHSM(t)
	c := start(t, h.Library, h.Env()...)
	slot := c.slot(h.Label)
	sign := signing(1, token.RSAPKCS1, token.SHA256, "data")
	login := token.Question{Call: token.CallLogin}
	this := token.Question{Call: token.CallLogin, Serial: slot.Token.Serial}
	other := token.Question{Call: token.CallLogin, Serial: "f" + slot.Token.Serial[1:] + "f"}
	needing := token.Question{Call: token.CallLogin, Serial: slot.Token.Serial, Refuse: token.FlagUserPINFinal | token.FlagLoginRequired}
	whichever := token.Question{Call: token.CallLogin, Refuse: token.FlagLoginRequired}
	keypad := token.Question{Call: token.CallLogin, Serial: slot.Token.Serial, Protected: true}
	tests := []struct {
		name    string
		q       token.Question
		secrets []string
		reason  cardbroker.Reason
	}{
		{"the right PIN", login, []string{h.PIN}, ""},
		{"the right PIN for this token", this, []string{h.PIN}, ""},
		{"the right PIN for another token", other, []string{h.PIN}, cardbroker.ObjectUnknown},
		{"the right PIN for this token, but not as it is", needing, []string{h.PIN}, cardbroker.Conflict},
		{"the right PIN for whichever token, but not as it is", whichever, []string{h.PIN}, cardbroker.Conflict},
		{"a keypad that this token has not", keypad, nil, cardbroker.Conflict},
		{"a wrong PIN", login, []string{"00" + h.PIN}, cardbroker.PINIncorrect},
		{"a PIN that is too short", login, []string{"1"}, cardbroker.PINIncorrect},
		{"no PIN", login, nil, cardbroker.Invalid},
		{"a signature with a wrong PIN", sign, []string{"99999999"}, cardbroker.PINIncorrect},
		{"a signature without a PIN", sign, nil, cardbroker.ObjectUnknown},
		{"a signature after a login", sign, nil, cardbroker.ObjectUnknown},
		{"an unknown key", signing(7, token.RSAPKCS1, token.SHA256, "data"), []string{h.PIN}, cardbroker.ObjectUnknown},
		{"a key of another kind", signing(2, token.RSAPSS, token.SHA256, "data"), []string{h.PIN}, cardbroker.Unsupported},
		{"a change with a wrong PIN", token.Question{Call: token.CallChangePIN}, []string{"99999999", "12345678"}, cardbroker.PINIncorrect},
		{"a change to a PIN that is too short", token.Question{Call: token.CallChangePIN}, []string{h.PIN, "1"}, cardbroker.Invalid},
		{"a change", token.Question{Call: token.CallChangePIN}, []string{h.PIN, "12345678"}, ""},
		{"the old PIN", login, []string{h.PIN}, cardbroker.PINIncorrect},
		{"the new PIN", login, []string{"12345678"}, ""},
		{"unblocking with a wrong PUK", token.Question{Call: token.CallUnblock}, []string{"00" + h.PUK, h.PIN}, cardbroker.PINIncorrect},
		{"unblocking", token.Question{Call: token.CallUnblock}, []string{h.PUK, h.PIN}, ""},
		{"the PIN of the unblocking", sign, []string{h.PIN}, ""},
	}
	for _, test := range tests {
		_, err := c.Ask(slot.Stream, test.q, test.secrets...)
		want(t, test.name, err, test.reason)
	}
}

// TestManyAtOnce: a token whose session was used by two at once would say CKR_OPERATION_ACTIVE.
func TestManyAtOnce(t *testing.T) {
	h := newHSM(t)
	c := start(t, h.Library, h.Env()...)
	slot := c.slot(h.Label)
	certificate := c.certificates(slot.Stream)[2].DER
	const askers, each = 8, 125
	var all sync.WaitGroup
	for range askers {
		all.Go(func() {
			for range each {
				answer, err := c.Ask(slot.Stream, signing(2, token.ECDSA, token.SHA256, "data"), h.PIN)
				if err == nil {
					err = check(certificate, token.ECDSA, token.SHA256, []byte("data"), answer.Signatures[0])
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
