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

	"github.com/cardbroker/cardbroker/internal/token"
)

// Names of key types.
const (
	typeRSA = "rsa"
	typeEC  = "ec"
)

// describeKey says what a private or public key is; nil: of a type that we have no use for.
func (o object) describeKey(private bool) *token.Key {
	kind := o.numbers(p11.CKA_KEY_TYPE)
	if len(kind) != 1 {
		return nil
	}
	key := &token.Key{EachUse: private && o.is(p11.CKA_ALWAYS_AUTHENTICATE, false)}
	switch kind[0] {
	case p11.CKK_RSA:
		key.Type, key.Bits = typeRSA, new(big.Int).SetBytes(o.bytes(p11.CKA_MODULUS)).BitLen()
	case p11.CKK_EC:
		key.Type, key.Bits = typeEC, curveBits(o.bytes(p11.CKA_EC_PARAMS))
	default:
		return nil
	}
	if private {
		key.Sign, key.Decrypt = o.is(p11.CKA_SIGN, false), o.is(p11.CKA_DECRYPT, false)
	} else {
		key.Sign, key.Decrypt = o.is(p11.CKA_VERIFY, false), o.is(p11.CKA_ENCRYPT, false)
	}
	for _, mechanism := range o.numbers(p11.CKA_ALLOWED_MECHANISMS) {
		name, ok := o.names[mechanism]
		if !ok {
			name = fmt.Sprintf("0x%08X", mechanism)
		}
		key.Mechanisms = append(key.Mechanisms, name)
	}
	return key
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
