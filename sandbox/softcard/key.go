// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/cardbroker/cardbroker/apdu"
)

// The algorithms, SP 800-78-4 table 6-2.
const (
	algorithmRSA2048 = 0x07
	algorithmP256    = 0x11
)

const (
	rsaSize  = 256 // bytes of an RSA-2048 modulus
	p256Size = 32  // bytes of a hash that a P-256 key signs
)

// pinPolicy says when a key wants the PIN.
type pinPolicy int

const (
	pinNever  pinPolicy = iota
	pinOnce             // since the card was reset
	pinAlways           // since a key was last used
)

// slot is a place for a key and its certificate, SP 800-73-4 Part 1 §3 and table 4b.
type slot struct {
	reference   byte
	name        string // the reference, in the state file
	algorithm   byte
	pin         pinPolicy
	certificate apdu.Tag
	usage       x509.KeyUsage
}

func slots() []slot {
	return []slot{
		{0x9A, "9a", algorithmRSA2048, pinOnce, 0x5FC105, x509.KeyUsageDigitalSignature},
		{0x9C, "9c", algorithmP256, pinAlways, 0x5FC10A, x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment},
		{0x9D, "9d", algorithmRSA2048, pinOnce, 0x5FC10B, x509.KeyUsageKeyEncipherment},
		{0x9E, "9e", algorithmP256, pinNever, 0x5FC101, x509.KeyUsageDigitalSignature},
	}
}

func findSlot(reference byte) (slot, bool) {
	for _, s := range slots() {
		if s.reference == reference {
			return s, true
		}
	}
	return slot{}, false
}

// key is a private key with its certificate.
type key struct {
	Private     []byte `json:"private"`     // PKCS #8, DER
	Certificate []byte `json:"certificate"` // X.509, DER

	signer crypto.Signer // what Private holds: *rsa.PrivateKey or *ecdsa.PrivateKey
}

// newKey makes a key for the slot and a certificate that it signs itself.
func newKey(slot slot) (key, error) {
	var k key
	var err error
	if slot.algorithm == algorithmRSA2048 {
		k.signer, err = rsa.GenerateKey(rand.Reader, rsaSize*8)
	} else {
		k.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return key{}, err
	}
	if k.Private, err = x509.MarshalPKCS8PrivateKey(k.signer); err != nil {
		return key{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Software card " + slot.name},
		NotBefore:             now.AddDate(0, 0, -1), // clocks differ
		NotAfter:              now.AddDate(20, 0, 0),
		KeyUsage:              slot.usage,
		BasicConstraintsValid: true,
	}
	k.Certificate, err = x509.CreateCertificate(rand.Reader, template, template, k.signer.Public(), k.signer)
	return k, err
}

// load parses Private and checks that it is a key for the slot and the certificate's.
func (k *key) load(slot slot) error {
	private, err := x509.ParsePKCS8PrivateKey(k.Private)
	if err != nil {
		return fmt.Errorf("private: %w", err)
	}
	certificate, err := x509.ParseCertificate(k.Certificate)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return errors.New("private: a key that does not sign")
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certificate.PublicKey) {
		return errors.New("certificate: of another key")
	}
	if !fits(signer, slot) {
		return errors.New("private: a key of another kind")
	}
	k.signer = signer
	return nil
}

func fits(signer crypto.Signer, slot slot) bool {
	switch k := signer.(type) {
	case *rsa.PrivateKey:
		return slot.algorithm == algorithmRSA2048 && k.Size() == rsaSize
	case *ecdsa.PrivateKey:
		return slot.algorithm == algorithmP256 && k.Curve == elliptic.P256()
	}
	return false
}

// use answers a challenge: an RSA key with the private operation on a block that the host has padded, a P-256 key with a
// signature of a hash. It is false where the challenge does not fit the key.
func (k key) use(challenge []byte) ([]byte, bool) {
	switch signer := k.signer.(type) {
	case *rsa.PrivateKey:
		block := new(big.Int).SetBytes(challenge)
		if len(challenge) != rsaSize || block.Cmp(signer.N) >= 0 {
			return nil, false
		}
		return block.Exp(block, signer.D, signer.N).FillBytes(make([]byte, rsaSize)), true
	case *ecdsa.PrivateKey:
		if len(challenge) == 0 || len(challenge) > p256Size {
			return nil, false
		}
		signature, err := ecdsa.SignASN1(rand.Reader, signer, challenge)
		return signature, err == nil
	}
	return nil, false
}
