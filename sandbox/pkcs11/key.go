// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"

	p11 "github.com/miekg/pkcs11"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/token"
)

// kind is a type of keys.
type kind struct {
	name   string
	number uint // CKK_…
	size   uint // the attribute that tells the size
	bits   func([]byte) int
}

func rsaKind() kind {
	return kind{typeRSA, p11.CKK_RSA, p11.CKA_MODULUS, func(modulus []byte) int { return new(big.Int).SetBytes(modulus).BitLen() }}
}

func ecKind() kind { return kind{typeEC, p11.CKK_EC, p11.CKA_EC_PARAMS, curveBits} }

// Names of key types.
const (
	typeRSA = "rsa"
	typeEC  = "ec"
)

// key is a private or public key of a session.
type key struct {
	token.Key
	handle  p11.ObjectHandle
	id      string
	allowed []uint // mechanisms; empty: all
}

// keys returns the keys of a class and kind that have those attributes.
func (s *session) keys(class uint, k kind, has ...*p11.Attribute) ([]key, error) {
	handles, err := s.find(class, append(has, p11.NewAttribute(p11.CKA_KEY_TYPE, k.number))...)
	if err != nil {
		return nil, err
	}
	types := []uint{p11.CKA_ID, p11.CKA_ENCRYPT, p11.CKA_VERIFY, k.size, p11.CKA_ALLOWED_MECHANISMS}
	if class == p11.CKO_PRIVATE_KEY {
		types = []uint{p11.CKA_ID, p11.CKA_DECRYPT, p11.CKA_SIGN, k.size, p11.CKA_ALLOWED_MECHANISMS, p11.CKA_ALWAYS_AUTHENTICATE}
	}
	keys := make([]key, len(handles))
	for i, handle := range handles {
		a := s.look(handle, types...)
		one := key{handle: handle, id: string(a[p11.CKA_ID]), allowed: a.numbers(p11.CKA_ALLOWED_MECHANISMS)}
		one.Type, one.Bits = k.name, k.bits(a[k.size])
		one.Sign = a.is(p11.CKA_SIGN) || a.is(p11.CKA_VERIFY)
		one.Decrypt = a.is(p11.CKA_DECRYPT) || a.is(p11.CKA_ENCRYPT)
		one.EachUse = a.is(p11.CKA_ALWAYS_AUTHENTICATE)
		for _, mechanism := range one.allowed {
			name, ok := s.names[mechanism]
			if !ok {
				name = fmt.Sprintf("0x%08X", mechanism)
			}
			one.Mechanisms = append(one.Mechanisms, name)
		}
		keys[i] = one
	}
	return keys, nil
}

// signer returns the key of that class and id that is for signatures by the scheme.
func (s *session) signer(class uint, id []byte, scheme token.Scheme) (key, error) {
	want := rsaKind()
	if scheme == token.ECDSA {
		want = ecKind()
	}
	has := p11.NewAttribute(p11.CKA_ID, id) // of no bytes: keys without one
	keys, err := s.keys(class, want, has)
	if err != nil {
		return key{}, err
	}
	for _, one := range keys {
		if one.Sign {
			return one, nil
		}
	}
	others, err := s.find(class, has)
	switch {
	case err != nil:
		return key{}, err
	case len(others) > 0:
		return key{}, cardbroker.Errorf(cardbroker.Unsupported, "the key is not for signatures, or not for %s", scheme)
	case class == p11.CKO_PRIVATE_KEY && !s.logged:
		return key{}, cardbroker.Errorf(cardbroker.ObjectUnknown, "there is no such key, or it shows itself with the PIN only")
	}
	return key{}, cardbroker.Errorf(cardbroker.ObjectUnknown, "there is no such key")
}

// keyOf says what the certificate tells of its key; nil: of a type that we have no use for, or an authority's, which is elsewhere.
func keyOf(der []byte) *token.Key {
	certificate, err := x509.ParseCertificate(der)
	if err != nil || certificate.IsCA {
		return nil
	}
	has := func(usage x509.KeyUsage) bool { return certificate.KeyUsage == 0 || certificate.KeyUsage&usage != 0 }
	key := &token.Key{
		Sign:    has(x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment),
		Decrypt: has(x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment),
	}
	switch public := certificate.PublicKey.(type) {
	case *rsa.PublicKey:
		key.Type, key.Bits = typeRSA, public.N.BitLen()
	case *ecdsa.PublicKey:
		key.Type, key.Bits, key.Decrypt = typeEC, public.Curve.Params().BitSize, false
	default:
		return nil
	}
	return key
}

// curveBits returns the size of a curve that DER names, RFC 5480 §2.1.1.1 and RFC 5639 §4.1; 0: it is not known.
func curveBits(parameters []byte) int {
	var name asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(parameters, &name); err != nil {
		return 0
	}
	switch name.String() {
	case "1.2.840.10045.3.1.1":
		return 192
	case "1.3.132.0.33":
		return 224
	case "1.2.840.10045.3.1.7", "1.3.132.0.10", "1.3.36.3.3.2.8.1.1.7", "1.3.36.3.3.2.8.1.1.8": // P-256, secp256k1, brainpool
		return 256
	case "1.3.36.3.3.2.8.1.1.9", "1.3.36.3.3.2.8.1.1.10":
		return 320
	case "1.3.132.0.34", "1.3.36.3.3.2.8.1.1.11", "1.3.36.3.3.2.8.1.1.12":
		return 384
	case "1.3.36.3.3.2.8.1.1.13", "1.3.36.3.3.2.8.1.1.14":
		return 512
	case "1.3.132.0.35":
		return 521
	}
	return 0
}
