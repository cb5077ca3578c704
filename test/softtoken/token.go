// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package softtoken is a PKCS#11 token in memory, as the process of a module shows it to the agent, and an agent's end of it: routes
// of agent/pki on a port of their own. Only tests import it. What a real module does is for the tests with SoftHSM and OpenSC.
package softtoken

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"sync"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/token"
)

// The secrets of a new token, and its PIN's tries.
const (
	PIN   = "123456"
	PUK   = "12345678"
	tries = 3
)

// Reader is the name of the reader that the token is in.
const Reader = "Soft Reader 00 00"

// Token is the module and its one token.
type Token struct {
	mu       sync.Mutex
	pin      string
	left     int
	flags    uint
	present  bool
	serial   string
	fail     error      // of the next question that is not about slots
	failOn   token.Call // only such a one; empty: any
	slots    error      // of the next look for slots
	watch    func(token.Question)
	keys     []key
	secrets  []cardbroker.Secret // of all questions: they have to be overwritten
	asked    []token.Question
	verifies bool
	logins   int
}

// key is a key with its certificate.
type key struct {
	token.Certificate
	signer crypto.Signer
}

// New returns a token with the keys of [Keys].
func New() *Token {
	return &Token{pin: PIN, left: tries, present: true, serial: "4711", keys: keys(), flags: token.FlagLoginRequired | token.FlagInitialized, verifies: true}
}

// Change changes the token by f, under its lock.
func (t *Token) Change(f func(*State)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := State{t.pin, t.left, t.flags, t.present, t.serial, t.fail, t.verifies}
	f(&s)
	t.pin, t.left, t.flags, t.present, t.serial, t.fail, t.verifies = s.PIN, s.Left, s.Flags, s.Present, s.Serial, s.Fail, s.Verifies
}

// State is what a test may change of a token.
type State struct {
	PIN      string
	Left     int // tries
	Flags    uint
	Present  bool
	Serial   string
	Fail     error // of the next question that is not about slots
	Verifies bool  // signatures, by itself
}

// FailOn has the next question of a kind fail.
func (t *Token) FailOn(call token.Call, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fail, t.failOn = err, call
}

// Watch has f be called for each question.
func (t *Token) Watch(f func(token.Question)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watch = f
}

// FailSlots has the next look for slots fail.
func (t *Token) FailSlots(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.slots = err
}

// Forget has the token lose its keys and certificates.
func (t *Token) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys = nil
}

// Asked returns the questions since the last call.
func (t *Token) Asked() []token.Question {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked := t.asked
	t.asked = nil
	return asked
}

// Left returns the PINs that were not overwritten.
func (t *Token) Left() (left []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.secrets {
		if len(bytes.Trim(s.Reveal(), "\x00")) > 0 {
			left = append(left, string(s.Reveal()))
		}
	}
	return left
}

// Library says what the module is.
func (t *Token) Library(context.Context, string) (token.Library, error) {
	return token.Library{Cryptoki: "2.40", Manufacturer: "Tests", Description: "soft token", Version: "1.0"}, nil
}

// Slots returns the slot of [Reader] and an empty one.
func (t *Token) Slots(_ context.Context, _ string, present bool) ([]token.Slot, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.slots; err != nil {
		t.slots = nil
		return nil, err
	}
	slots := []token.Slot{
		{ID: 7, Stream: 1, Description: Reader, Manufacturer: "Tests", Hardware: "1.0", Firmware: "1.0"},
		{ID: 8, Stream: 2, Description: "another slot", Manufacturer: "Tests", Hardware: "1.0", Firmware: "1.0"},
	}
	if !t.present {
		slots[1].Stream = 0
	} else {
		slots[0].Token = t.info()
	}
	if present {
		n := 0
		if t.present {
			n = 1
		}
		return slots[:n], nil
	}
	return slots, nil
}

func (t *Token) info() *token.Token {
	info := &token.Token{
		Label: "soft", Manufacturer: "Tests", Model: "one", Serial: t.serial, Flags: t.flags, MaxSessions: -1, Sessions: 0, MaxRWSessions: -1,
		MaxPIN: 12, MinPIN: 4, TotalPublicMemory: -1, FreePublicMemory: -1, TotalPrivateMemory: -1, FreePrivateMemory: -1, Hardware: "1.0", Firmware: "1.0",
	}
	switch {
	case t.left == 0:
		info.Flags |= token.FlagUserPINLocked
	case t.left == 1:
		info.Flags |= token.FlagUserPINFinal | token.FlagUserPINLow
	case t.left < tries:
		info.Flags |= token.FlagUserPINLow
	}
	return info
}

// Do answers a question.
func (t *Token) Do(_ context.Context, _ string, slot token.Slot, q token.Question, secrets ...cardbroker.Secret) (token.Answer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked = append(t.asked, q)
	t.secrets = append(t.secrets, secrets...)
	if t.watch != nil {
		t.watch(q)
	}
	defer func() {
		for _, s := range secrets {
			clear(s.Reveal())
		}
	}()
	if err := t.fail; err != nil && (t.failOn == "" || t.failOn == q.Call) {
		t.fail, t.failOn = nil, ""
		return token.Answer{}, err
	}
	least, most := q.Secrets()
	if n := len(secrets); slot.ID != 7 || n < least || n > most || q.Check() != nil {
		return token.Answer{}, cardbroker.Errorf(cardbroker.Internal, "BUG: slot %d, %d secrets, %v", slot.ID, n, q.Check())
	}
	if q.Serial != "" && q.Serial != t.serial {
		return token.Answer{}, cardbroker.Errorf(cardbroker.ObjectUnknown, "the token in this slot is another one")
	}
	if q.Refuse&t.info().Flags != 0 {
		return token.Answer{}, cardbroker.Errorf(cardbroker.Conflict, "the token is not as it was when it was looked at")
	}
	switch q.Call {
	case token.CallToken:
		info := t.info()
		info.Mechanisms = mechanisms()
		return token.Answer{Token: info}, nil
	case token.CallObjects:
		a := token.Answer{}
		for _, k := range t.keys {
			a.Certificates = append(a.Certificates, k.Certificate)
		}
		return a, nil
	case token.CallVerify:
		return t.verify(q.Verify)
	case token.CallUnblock:
		if string(secrets[0].Reveal()) != PUK {
			return token.Answer{}, wrong(cardbroker.RetriesUnknown)
		}
		t.pin, t.left = string(secrets[1].Reveal()), tries
		return token.Answer{}, nil
	}
	if !q.Protected && len(secrets) > 0 {
		if err := t.login(secrets[0]); err != nil {
			return token.Answer{}, err
		}
	}
	switch q.Call {
	case token.CallChangePIN:
		t.pin = string(secrets[1].Reveal())
	case token.CallSign:
		return t.sign(q.Sign)
	}
	return token.Answer{}, nil
}

// Logins says how many PINs the token has seen.
func (t *Token) Logins() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.logins
}

func (t *Token) login(pin cardbroker.Secret) error {
	t.logins++
	if t.left == 0 {
		return cardbroker.Errorf(cardbroker.PINBlocked, "the PIN is blocked")
	}
	if string(pin.Reveal()) != t.pin {
		t.left--
		return wrong(t.left)
	}
	t.left = tries
	return nil
}

func wrong(left int) error {
	err := cardbroker.Errorf(cardbroker.PINIncorrect, "the PIN is wrong")
	err.Retries = left
	return err
}

func (t *Token) key(id []byte) *key {
	for i := range t.keys {
		if bytes.Equal(t.keys[i].ID, id) && t.keys[i].signer != nil {
			return &t.keys[i]
		}
	}
	return nil
}

func (t *Token) sign(q *token.Sign) (token.Answer, error) {
	k := t.key(q.Key)
	if k == nil {
		return token.Answer{}, cardbroker.Errorf(cardbroker.ObjectUnknown, "there is no such key")
	}
	var a token.Answer
	for _, in := range q.Inputs {
		signature, err := k.signer.Sign(rand.Reader, in.Digest, options(q.Scheme, q.Hash))
		if err != nil {
			return a, cardbroker.Wrapf(err, cardbroker.Unsupported, "the token does not sign like this")
		}
		if q.Scheme == token.ECDSA {
			var pair struct{ R, S *big.Int }
			if _, err := asn1.Unmarshal(signature, &pair); err != nil {
				return a, err
			}
			signature = append(pair.R.FillBytes(make([]byte, 32)), pair.S.FillBytes(make([]byte, 32))...)
		}
		a.Signatures = append(a.Signatures, signature)
	}
	return a, nil
}

func options(scheme token.Scheme, hash token.Hash) crypto.SignerOpts {
	of := map[token.Hash]crypto.Hash{token.SHA1: crypto.SHA1, token.SHA256: crypto.SHA256, token.SHA384: crypto.SHA384, token.SHA512: crypto.SHA512}[hash]
	if scheme == token.RSAPSS {
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: of}
	}
	return of
}

func (t *Token) verify(q *token.Verify) (token.Answer, error) {
	k := t.key(q.Key)
	if k == nil || !t.verifies {
		return token.Answer{}, cardbroker.Errorf(cardbroker.Unsupported, "the token does not verify")
	}
	hash := options("", q.Hash).HashFunc()
	switch public := k.signer.Public().(type) {
	case *rsa.PublicKey:
		if q.Scheme == token.RSAPSS {
			return token.Answer{Valid: rsa.VerifyPSS(public, hash, q.Input.Digest, q.Signature, nil) == nil}, nil
		}
		return token.Answer{Valid: rsa.VerifyPKCS1v15(public, hash, q.Input.Digest, q.Signature) == nil}, nil
	case *ecdsa.PublicKey:
		r, s := new(big.Int).SetBytes(q.Signature[:len(q.Signature)/2]), new(big.Int).SetBytes(q.Signature[len(q.Signature)/2:])
		return token.Answer{Valid: ecdsa.Verify(public, q.Input.Digest, r, s)}, nil
	}
	return token.Answer{}, nil
}

// Certificate returns the certificate of the key with that id.
func (t *Token) Certificate(id byte) *x509.Certificate {
	c, err := x509.ParseCertificate(t.key([]byte{id}).DER)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return c
}

func mechanisms() []token.Mechanism {
	const sign, verify, digest = 0x800, 0x2000, 0x400
	return []token.Mechanism{
		{Type: 0x220, Name: "CKM_SHA_1", Flags: digest},
		{Type: 1, Name: "CKM_RSA_PKCS", Flags: sign | verify, MinKey: 1024, MaxKey: 4096},
		{Type: 0x43, Name: "CKM_SHA256_RSA_PKCS_PSS", Flags: sign | verify, MinKey: 1024, MaxKey: 4096},
		{Type: 0x1041, Name: "CKM_ECDSA", Flags: sign | verify, MinKey: 256, MaxKey: 521},
		{Type: 0x80000001},
	}
}

func subjectKeyID(public crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	sum := sha1.Sum(der)
	return sum[:]
}
