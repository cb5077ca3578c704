// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Certificate says by which client certificate a tenant is known: by one certificate, or by a name that a CA vouches for.
type Certificate struct {
	SHA256 [32]byte       // of the certificate; zero: by CA and Name
	CA     *x509.CertPool // that the chain ends at
	Name   string         // one of its DNS names or URIs, exactly; where it has none of either, its common name
}

type namedCertificate struct {
	Certificate
	tenant cardbroker.Tenant
}

// learn notes a tenant's certificates.
func (a *Authority) learn(tenant cardbroker.Tenant, certificates []Certificate) error {
	for _, c := range certificates {
		if c.SHA256 == [32]byte{} {
			a.named = append(a.named, namedCertificate{Certificate: c, tenant: tenant})
			continue
		}
		if other, taken := a.pinned[c.SHA256]; taken && other != tenant {
			return cardbroker.Errorf(cardbroker.Invalid, "tenants %s and %s have the same certificate", other, tenant)
		}
		a.pinned[c.SHA256] = tenant
	}
	return nil
}

// byCertificate says whose chain it is. That the back end has the key of the first certificate is proven already: by the
// handshake (RFC 8446 §4.4.3).
func (a *Authority) byCertificate(chain []*x509.Certificate, now time.Time) (Credential, error) {
	leaf := chain[0]
	sum := sha256.Sum256(leaf.Raw)
	tenant, known := a.pinned[sum]
	if !known {
		tenant, known = a.vouchedFor(chain, now)
	}
	switch {
	case !known:
		return Credential{}, errors.New("the certificate is no tenant's")
	case len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) &&
		!slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		return Credential{}, errors.New("the certificate is not for clients")
	}
	if err := checkTime(leaf, now); err != nil {
		return Credential{}, err
	}
	return Credential{Tenant: tenant, Method: ByCertificate, ID: hex.EncodeToString(sum[:]), Expires: leaf.NotAfter}, nil
}

// vouchedFor looks for a CA that vouches for the chain and a name in its first certificate: now or, if that certificate is
// not valid now, when it was or will be, so that a wrong clock can be told of.
func (a *Authority) vouchedFor(chain []*x509.Certificate, now time.Time) (cardbroker.Tenant, bool) {
	leaf, between := chain[0], x509.NewCertPool()
	switch {
	case now.Before(leaf.NotBefore):
		now = leaf.NotBefore
	case now.After(leaf.NotAfter):
		now = leaf.NotAfter
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	for _, c := range a.named {
		if !slices.Contains(names(leaf), c.Name) {
			continue
		}
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots: c.CA, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err == nil {
			return c.tenant, true
		}
	}
	return "", false
}

// names are what a certificate is for.
func names(c *x509.Certificate) []string {
	all := slices.Clone(c.DNSNames)
	for _, uri := range c.URIs {
		all = append(all, uri.String())
	}
	if len(all) == 0 && c.Subject.CommonName != "" {
		all = append(all, c.Subject.CommonName)
	}
	return all
}

// checkTime says whether a genuine certificate is valid now, and else by how much it is not.
func checkTime(c *x509.Certificate, now time.Time) error {
	clock := now.UTC().Format(time.RFC3339)
	switch early, late := c.NotBefore.Sub(now), now.Sub(c.NotAfter); {
	case early > 0:
		return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTokenTime,
			"the certificate is valid from %s, which is %v ahead of this host's clock (%s): set the clocks right",
			c.NotBefore.UTC().Format(time.RFC3339), early.Round(time.Second), clock)
	case late > 0:
		return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTokenTime,
			"the certificate was valid until %s, %v ago by this host's clock (%s): renew it, or set the clocks right",
			c.NotAfter.UTC().Format(time.RFC3339), late.Round(time.Second), clock)
	}
	return nil
}
