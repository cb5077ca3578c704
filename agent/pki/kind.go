// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/x509"
	"slices"
	"strings"
)

// kind is what a certificate is for.
type kind string

// The kinds, by the names that existing clients know.
const (
	authentication kind = "authentication"
	nonRepudiation kind = "nonRepudiation"
	encryption     kind = "encryption"
	issuer         kind = "issuer"
	intermediate   kind = "intermediate"
	root           kind = "root"
)

// classify says what each certificate of a token is for. docs/tokens-pkcs11.md has the rules for users; the first that applies
// counts:
//
//  1. A certificate whose private key is on the token is the holder's, whatever it says; so is one that is no CA's.
//  2. A CA's is a root if it has issued itself; else it is an intermediate one. If it has issued a holder's certificate of this
//     token, it is an issuer as well.
//  3. A holder's is what its label says, where the label is one of a PIV card: SP 800-73-4 Part 1 table 2 fixes what 9A, 9C, 9D and
//     9E are for, and issuers of such cards do not always set the key usage accordingly.
//  4. nonRepudiation among the key usages, RFC 5280 §4.2.1.3: that.
//  5. digitalSignature: authentication, or nonRepudiation if there are extended key usages and none is for logging in.
//  6. Another key usage: encryption.
//  7. No key usage at all: what the label says ("sign", "encr" and the like), else authentication.
func classify(all []certificate) {
	for i := range all {
		if c := &all[i]; !c.ca() {
			c.kinds = []kind{holders(c.Label, c.parsed)}
		}
	}
	for i := range all {
		c := &all[i]
		if !c.ca() {
			continue
		}
		c.kinds = []kind{intermediate}
		if c.issued(c) {
			c.kinds = []kind{root}
		}
		if slices.ContainsFunc(all, func(of certificate) bool { return !of.ca() && c.issued(&of) }) {
			c.kinds = append(c.kinds, issuer)
		}
	}
}

// ca says whether it is a CA's.
func (c *certificate) ca() bool {
	return c.parsed != nil && c.parsed.BasicConstraintsValid && c.parsed.IsCA && c.Key == nil
}

// issued says whether c is, by its name and key identifier, the issuer of another one, or of itself. It verifies nothing.
func (c *certificate) issued(other *certificate) bool {
	if c.parsed == nil || other.parsed == nil || !bytes.Equal(c.parsed.RawSubject, other.parsed.RawIssuer) {
		return false
	}
	wanted, own := other.parsed.AuthorityKeyId, c.parsed.SubjectKeyId
	return len(wanted) == 0 || len(own) == 0 || bytes.Equal(wanted, own)
}

// holders says what a holder's certificate is for.
func holders(label string, c *x509.Certificate) kind {
	label = strings.ToLower(label)
	if of := pivKind(label); of != "" {
		return of
	}
	if c == nil || c.KeyUsage == 0 {
		return labelled(label)
	}
	switch {
	case c.KeyUsage&x509.KeyUsageContentCommitment != 0:
		return nonRepudiation
	case c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return encryption
	case len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 && !logsIn(c):
		return nonRepudiation
	}
	return authentication
}

// smartCardLogon is Microsoft's purpose of a key, beside those of RFC 5280 §4.2.1.12.
const smartCardLogon = "1.3.6.1.4.1.311.20.2.2"

// logsIn says whether one of the key's purposes is to log in.
func logsIn(c *x509.Certificate) bool {
	for _, oid := range c.UnknownExtKeyUsage {
		if oid.String() == smartCardLogon {
			return true
		}
	}
	return slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// pivKind reads the labels that OpenSC and YKCS11 give the certificates of a PIV card.
func pivKind(label string) kind {
	switch {
	case strings.Contains(label, "piv authentication"), strings.Contains(label, "card authentication"): // 9A, 9E
		return authentication
	case strings.Contains(label, "for digital signature"): // 9C
		return nonRepudiation
	case strings.Contains(label, "for key management"), strings.Contains(label, "retired certificate"): // 9D, 82 to 95
		return encryption
	}
	return ""
}

// labelled reads a label of anybody's.
func labelled(label string) kind {
	switch {
	case strings.Contains(label, "auth"):
		return authentication
	case strings.Contains(label, "sign"), strings.Contains(label, "repudiation"):
		return nonRepudiation
	case strings.Contains(label, "encr"), strings.Contains(label, "cipher"):
		return encryption
	}
	return authentication
}
