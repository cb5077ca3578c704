// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import "time"

// X509Request is the body of POST /v3/modules/x509/…: one certificate.
type X509Request struct {
	Cert string `json:"cert"` // PEM, or base64 of its DER
}

// X509Certificate is what POST /v3/modules/x509/json answers. Existing clients know the first four fields.
type X509Certificate struct {
	Version          int       `json:"version"` // 1 to 3
	Serial           string    `json:"serial"`  // upper-case hexadecimal
	Subject          string    `json:"subject"` // RFC 4514
	Issuer           string    `json:"issuer"`
	SubjectCNs       []string  `json:"subjectCNs"` // the most specific first
	IssuerCNs        []string  `json:"issuerCNs"`
	NotBefore        time.Time `json:"notBefore"`
	NotAfter         time.Time `json:"notAfter"`
	Warning          string    `json:"warning,omitempty"` // expired, expires_soon, not_yet_valid
	KeyType          string    `json:"keyType"`           // rsa, ec, ed25519; empty: another
	KeyBits          int       `json:"keyBits"`
	KeyHash          string    `json:"keyHash"` // SHA-256 of the SubjectPublicKeyInfo, lower-case hexadecimal
	KeyUsages        []string  `json:"keyUsages"`
	ExtKeyUsages     []string  `json:"extKeyUsages"`
	AlternativeNames []string  `json:"alternativeNames"`
}

// Cache is the answer of GET /cb/v1/cache: how many lists of certificates are kept.
type Cache struct {
	Certificates string `json:"certificates"` // off, memory or disk
	Memory       int    `json:"memory"`       // lists in memory
	Files        int    `json:"files"`        // lists on disk
	Bytes        int64  `json:"bytes"`        // that they take
}
