// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto/x509"
	"encoding/hex"
	"time"

	"github.com/cardbroker/cardbroker/api"
)

// keyUsages are the names of RFC 5280 §4.2.1.3, by bit.
func keyUsages() []string {
	return []string{"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign",
		"cRLSign", "encipherOnly", "decipherOnly"}
}

// KeyUsages returns what the key may be used for, by the names of RFC 5280 §4.2.1.3; none: the certificate does not say.
func (c Certificate) KeyUsages() []string {
	names := []string{}
	for bit, name := range keyUsages() {
		if c.X509 != nil && c.X509.KeyUsage&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// extKeyUsage returns the name of a purpose, RFC 5280 §4.2.1.12, of Microsoft for smart cards, else its object identifier.
func extKeyUsage(oid string) string {
	switch oid {
	case "2.5.29.37.0":
		return "anyExtendedKeyUsage"
	case "1.3.6.1.5.5.7.3.1":
		return "serverAuth"
	case "1.3.6.1.5.5.7.3.2":
		return "clientAuth"
	case "1.3.6.1.5.5.7.3.3":
		return "codeSigning"
	case "1.3.6.1.5.5.7.3.4":
		return "emailProtection"
	case "1.3.6.1.5.5.7.3.8":
		return "timeStamping"
	case "1.3.6.1.5.5.7.3.9":
		return "OCSPSigning"
	case "1.3.6.1.4.1.311.20.2.2":
		return "smartCardLogon"
	}
	return oid
}

// ExtKeyUsages returns the purposes of the key, known ones by name, others as object identifiers; none: any, or not said.
func (c Certificate) ExtKeyUsages() []string {
	names := []string{}
	if c.X509 == nil {
		return names
	}
	for _, use := range c.X509.ExtKeyUsage {
		names = append(names, extKeyUsage(use.OID().String()))
	}
	for _, oid := range c.X509.UnknownExtKeyUsage {
		names = append(names, extKeyUsage(oid.String()))
	}
	return names
}

// AlternativeNames returns the subject's other names, RFC 5280 §4.2.1.6, each with its kind before it: "email:", "dns:", "ip:",
// "uri:". Other kinds are left out.
func (c Certificate) AlternativeNames() []string {
	names := []string{}
	if c.X509 == nil {
		return names
	}
	for _, name := range c.X509.EmailAddresses {
		names = append(names, "email:"+name)
	}
	for _, name := range c.X509.DNSNames {
		names = append(names, "dns:"+name)
	}
	for _, ip := range c.X509.IPAddresses {
		names = append(names, "ip:"+ip.String())
	}
	for _, uri := range c.X509.URIs {
		names = append(names, "uri:"+uri.String())
	}
	return names
}

// SelfIssued says whether issuer and subject are one: a root, mostly. Nothing is verified.
func (c Certificate) SelfIssued() bool { return string(c.Issuer.Raw) == string(c.Subject.Raw) }

// CA says whether the certificate says of itself that it is of an authority.
func (c Certificate) CA() bool {
	if c.X509 == nil {
		return false
	}
	return c.X509.IsCA || !c.X509.BasicConstraintsValid && c.X509.KeyUsage&x509.KeyUsageCertSign != 0
}

// Describe returns what there is to say of the certificate at a time.
func (c Certificate) Describe(now time.Time) api.X509Certificate {
	kind, bits := c.Key()
	hash := c.KeyHash()
	return api.X509Certificate{
		Version: c.Version, Serial: c.SerialText(), Subject: c.Subject.String(), Issuer: c.Issuer.String(),
		SubjectCNs: c.Subject.CNs(), IssuerCNs: c.Issuer.CNs(),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, Warning: string(c.Warning(now)),
		KeyType: kind, KeyBits: bits, KeyHash: hex.EncodeToString(hash[:]),
		KeyUsages: c.KeyUsages(), ExtKeyUsages: c.ExtKeyUsages(), AlternativeNames: c.AlternativeNames(),
	}
}
