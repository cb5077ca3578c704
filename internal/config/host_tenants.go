// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/jose"
)

// Tenant is how the back ends of one tenant show who they are: one of what stands here is enough.
type Tenant struct {
	Certificates []TenantCertificate `yaml:"certificates"`
	JWT          *TenantJWT          `yaml:"jwt"`
	Addresses    []string            `yaml:"addresses"` // CIDR, that they come from, in any case; none: from anywhere
}

// TenantCertificate is a client certificate: one, or all that a CA vouches for under a name.
type TenantCertificate struct {
	SHA256 string `yaml:"sha256"` // 64 hexadecimal digits
	CA     string `yaml:"ca"`     // PEM file
	Name   string `yaml:"name"`   // a DNS name or URI of the certificate, exactly
}

// TenantJWT is a JWT of an identity provider.
type TenantJWT struct {
	Issuer     string   `yaml:"issuer"`     // iss
	Audience   string   `yaml:"audience"`   // one of aud
	Subject    string   `yaml:"subject"`    // sub
	Algorithms []string `yaml:"algorithms"` // ES256
	KeysFile   string   `yaml:"keys_file"`  // JWK set
	KeysURL    string   `yaml:"keys_url"`   // https, of a JWK set
	CA         string   `yaml:"ca"`         // PEM file: who vouches for keys_url; whom the system trusts
	MaxLife    string   `yaml:"max_life"`   // 1h
	Replay     string   `yaml:"replay"`     // tunnel: a token opens one tunnel; bearer: any number
}

// maxTokenLife is the longest max_life.
const maxTokenLife = 24 * time.Hour

// checkTenants checks what can be checked without reading other files.
func checkTenants(path string, tenants map[string]Tenant) error {
	for name, t := range tenants {
		if _, err := cardbroker.ParseTenant(name); err != nil {
			return unfit(path, "tenants: %q is not a tenant's name", name)
		}
		for i, c := range t.Certificates {
			sum, err := hex.DecodeString(c.SHA256)
			pinned := c.SHA256 != ""
			if pinned && (err != nil || len(sum) != 32 || c.CA+c.Name != "") || !pinned && (c.CA == "" || c.Name == "") {
				return unfit(path, "tenants.%s.certificates[%d]: want sha256 of 64 hexadecimal digits, or ca and name", name, i)
			}
		}
		for _, text := range t.Addresses {
			if _, err := netip.ParsePrefix(text); err != nil {
				return unfit(path, "tenants.%s.addresses: %q is not like 10.1.0.0/16", name, text)
			}
		}
		if t.JWT != nil {
			if err := checkJWT(path, name, *t.JWT); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkJWT(path, name string, j TenantJWT) error {
	switch {
	case j.Issuer == "" || j.Audience == "" || j.Subject == "":
		return unfit(path, "tenants.%s.jwt: want issuer, audience and subject", name)
	case (j.KeysFile == "") == (j.KeysURL == ""):
		return unfit(path, "tenants.%s.jwt: want keys_file or keys_url", name)
	case j.Replay != "" && j.Replay != "tunnel" && j.Replay != "bearer":
		return unfit(path, "tenants.%s.jwt.replay: %q, want tunnel or bearer", name, j.Replay)
	}
	if u, err := url.Parse(j.KeysURL); j.KeysURL != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		return unfit(path, "tenants.%s.jwt.keys_url: %q is not https://…", name, j.KeysURL)
	}
	for _, algorithm := range j.Algorithms {
		if !slices.Contains(jose.Algorithms(), algorithm) {
			return unfit(path, "tenants.%s.jwt.algorithms: %q, want some of %v", name, algorithm, jose.Algorithms())
		}
	}
	if life, err := time.ParseDuration(j.MaxLife); j.MaxLife != "" && (err != nil || life < time.Second || life > maxTokenLife) {
		return unfit(path, "tenants.%s.jwt.max_life: %q, want 1s to %v", name, j.MaxLife, maxTokenLife)
	}
	return nil
}

func unfit(path, format string, args ...any) error {
	return cardbroker.Errorf(cardbroker.Invalid, "configuration %s: %s", path, fmt.Sprintf(format, args...))
}
