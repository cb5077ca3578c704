// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pki"
	"github.com/cardbroker/cardbroker/internal/token"
)

// self returns a certificate that has issued itself.
func self(t *testing.T, label string, usage x509.KeyUsage, change func(*x509.Certificate)) token.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "holder"}, KeyUsage: usage}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return token.Certificate{Label: label, DER: der}
}

// TestKinds holds the rules of docs/tokens-pkcs11.md.
func TestKinds(t *testing.T) {
	const digital, content, encipher, agree = x509.KeyUsageDigitalSignature, x509.KeyUsageContentCommitment, x509.KeyUsageKeyEncipherment, x509.KeyUsageKeyAgreement
	authority := func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }
	purposes := func(list ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = list }
	}
	logon := func(c *x509.Certificate) {
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 311, 20, 2, 2}}
	}
	for name, test := range map[string]struct {
		certificate token.Certificate
		key         bool
		want        string
	}{
		"an authority":                           {self(t, "", x509.KeyUsageCertSign, authority), false, "root"},
		"an authority whose key is here":         {self(t, "", digital, authority), true, "authentication"},
		"9A that says it signs":                  {self(t, "Certificate for PIV Authentication", digital|content, nil), true, "authentication"},
		"9C that does not":                       {self(t, "Certificate for Digital Signature", digital, nil), true, "nonRepudiation"},
		"9C as another module calls it":          {self(t, "X.509 Certificate for Digital Signature", digital, nil), true, "nonRepudiation"},
		"9D":                                     {self(t, "Certificate for Key Management", digital, nil), true, "encryption"},
		"9E":                                     {self(t, "Certificate for Card Authentication", 0, nil), true, "authentication"},
		"digitalSignature":                       {self(t, "Sign", digital, nil), true, "authentication"},
		"digitalSignature and nonRepudiation":    {self(t, "Auth", digital|content, nil), true, "nonRepudiation"},
		"digitalSignature and keyEncipherment":   {self(t, "", digital|encipher, nil), true, "authentication"},
		"keyEncipherment":                        {self(t, "", encipher, nil), true, "encryption"},
		"keyAgreement":                           {self(t, "", agree, nil), true, "encryption"},
		"digitalSignature for mail":              {self(t, "", digital, purposes(x509.ExtKeyUsageEmailProtection)), true, "nonRepudiation"},
		"digitalSignature for mail and clients":  {self(t, "", digital, purposes(x509.ExtKeyUsageEmailProtection, x509.ExtKeyUsageClientAuth)), true, "authentication"},
		"digitalSignature for anything":          {self(t, "", digital, purposes(x509.ExtKeyUsageAny)), true, "authentication"},
		"digitalSignature for smart card logon":  {self(t, "", digital, logon), true, "authentication"},
		"no usage, and a label that says sign":   {self(t, "My SIGNATURE key", 0, nil), true, "nonRepudiation"},
		"no usage, and a label that says encr":   {self(t, "Encryption", 0, nil), true, "encryption"},
		"no usage, and a label that says little": {self(t, "key 1", 0, nil), false, "authentication"},
	} {
		if test.key {
			test.certificate.Key = &token.Key{Type: "ec", Sign: true}
		}
		if got := strings.Join(pki.Kinds([]token.Certificate{test.certificate})[0], " "); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// TestAlgorithms reads the names that clients send.
func TestAlgorithms(t *testing.T) {
	for _, test := range []struct{ names, key, want string }{
		{"sha256 SHA256 Sha-256 sha_256 sha256_rsa sha256WithRSA SHA256withRSAEncryption RSA-SHA256 rsassa_pkcs1_sha256 rsassaPkcs1v15Sha256 RS256 CKM_SHA256_RSA_PKCS", "rsa", "rsassa_pkcs1_sha256"},
		{"rsassa_pss_sha384 RSASSA-PSS-SHA384 sha384_rsa_pss SHA384withRSAandMGF1 PS384 CKM_SHA384_RSA_PKCS_PSS", "rsa", "rsassa_pss_sha384"},
		{"sha512 ecdsa_sha512 sha512_ecdsa SHA512withECDSA ES512 CKM_ECDSA_SHA512", "ec", "ecdsa_sha512"},
		{"sha1 SHA-1 sha1WithRSA", "rsa", "rsassa_pkcs1_sha1"},
	} {
		for name := range strings.FieldsSeq(test.names) {
			if got, err := pki.Algorithm(name, test.key); err != nil || got != test.want {
				t.Errorf("Algorithm(%q, %q) = %q, %v, want %q", name, test.key, got, err, test.want)
			}
		}
	}
	for _, test := range []struct {
		name, key string
		want      cardbroker.Reason
	}{
		{"", "rsa", cardbroker.Invalid}, {"md5", "rsa", cardbroker.Invalid}, {"rsa", "rsa", cardbroker.Invalid}, {"sha224", "rsa", cardbroker.Invalid},
		{"hmac_sha256", "rsa", cardbroker.Invalid}, {"sha256sha256", "rsa", cardbroker.Invalid}, {"none", "rsa", cardbroker.Invalid}, {"hs256", "rsa", cardbroker.Invalid},
		{"ecdsa_sha256", "rsa", cardbroker.Invalid}, {"rsassa_pss_sha256", "ec", cardbroker.Invalid}, {"sha256", "ed25519", cardbroker.Unsupported}, {"sha256", "", cardbroker.Unsupported},
	} {
		if got, err := pki.Algorithm(test.name, test.key); cardbroker.ReasonOf(err) != test.want {
			t.Errorf("Algorithm(%q, %q) = %q, %v, want %s", test.name, test.key, got, err, test.want)
		}
	}
}
