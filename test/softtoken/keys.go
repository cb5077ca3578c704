// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softtoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/cardbroker/cardbroker/internal/token"
)

// The ids of the token's keys.
const (
	Authentication = 1 // RSA, 2048 bits
	Signature      = 2 // P-256
	Encryption     = 3 // RSA, and expired
)

// keys returns the keys and certificates of every token: they are made once.
func keys() []key { return slices.Clone(made()) }

var made = sync.OnceValue(func() []key {
	year := 365 * 24 * time.Hour
	root := newKey(0x10, "root", nil, elliptical(), x509.KeyUsageCertSign, year)
	issuing := newKey(0x11, "issuing", &root, elliptical(), x509.KeyUsageCertSign, year)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	all := []key{
		newKey(Signature, "signature", &issuing, elliptical(), x509.KeyUsageContentCommitment, 10*24*time.Hour),
		newKey(Authentication, "authentication", &issuing, rsaKey, x509.KeyUsageDigitalSignature, year),
		newKey(Encryption, "encryption", &issuing, rsaKey, x509.KeyUsageKeyEncipherment, -24*time.Hour),
	}
	for i := range all {
		kind := "ec"
		if _, ok := all[i].signer.(*rsa.PrivateKey); ok {
			kind = "rsa"
		}
		all[i].Key = &token.Key{Type: kind, Bits: 2048, Sign: all[i].ID[0] != Encryption}
	}
	return append(all, root, issuing)
})

func elliptical() crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return k
}

// newKey issues a certificate for a key; it is valid for so long, from a year ago.
func newKey(id byte, name string, by *key, signer crypto.Signer, usage x509.KeyUsage, left time.Duration) key {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x1000 + int64(id)), Subject: pkix.Name{CommonName: name, Organization: []string{"Tests, Ltd"}},
		NotBefore: now.Add(-365 * 24 * time.Hour), NotAfter: now.Add(left), KeyUsage: usage, SubjectKeyId: subjectKeyID(signer.Public()),
	}
	if usage == x509.KeyUsageCertSign {
		template.IsCA, template.BasicConstraintsValid = true, true
	}
	parent, private := template, signer
	if by != nil {
		var err error
		if parent, err = x509.ParseCertificate(by.DER); err != nil {
			panic("BUG: " + err.Error())
		}
		private = by.signer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, signer.Public(), private)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return key{token.Certificate{ID: []byte{id}, Label: name, DER: der}, signer}
}
