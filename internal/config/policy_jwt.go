// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/jose"
)

// maxKeySet is the longest file of public keys that is read, in bytes.
const maxKeySet = 256 << 10

// PageJWT is the JWT that web pages of a tenant's origins have to show, besides the user's consent.
type PageJWT struct {
	JWKSFile   string   `yaml:"jwks_file"`  // absolute, root's alone: a JWK set
	Issuer     string   `yaml:"issuer"`     // iss
	Audience   string   `yaml:"audience"`   // one of aud
	Algorithms []string `yaml:"algorithms"` // of jose.Algorithms; ES256
}

// PageJWTs returns which JWTs do for pages of an origin; one is enough. An origin that is not here needs none.
func (p Policy) PageJWTs() map[cardbroker.Origin][]PageJWT {
	wanted := make(map[cardbroker.Origin][]PageJWT)
	for _, name := range slices.Sorted(maps.Keys(p.tenants)) {
		tenant := p.tenants[name]
		if tenant.PageJWT == nil {
			continue
		}
		for _, origin := range tenant.Origins {
			wanted[origin] = append(wanted[origin], *tenant.PageJWT)
		}
	}
	return wanted
}

// ReadKeySet reads a JWK set that nobody but root can change. Errors: Invalid.
func ReadKeySet(path string) (jose.KeySet, error) {
	if err := rootsOwn(path); err != nil {
		return jose.KeySet{}, err
	}
	file, err := os.Open(path)
	if err != nil {
		return jose.KeySet{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the key set %s", path)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxKeySet))
	if err != nil {
		return jose.KeySet{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the key set %s", path)
	}
	set, err := jose.ParseKeySet(text)
	if err != nil {
		return jose.KeySet{}, cardbroker.Wrapf(err, cardbroker.Invalid, "the key set %s cannot be used", path)
	}
	return set, nil
}

// checkPageJWT checks what one file says.
func checkPageJWT(path, name string, j *PageJWT) error {
	if j.Issuer == "" || j.Audience == "" || !filepath.IsAbs(j.JWKSFile) {
		return wrong(path, "tenants.%s.page_jwt: want issuer, audience and jwks_file, an absolute path", name)
	}
	if len(j.Algorithms) == 0 {
		j.Algorithms = []string{"ES256"}
	}
	for _, algorithm := range j.Algorithms {
		if !slices.Contains(jose.Algorithms(), algorithm) {
			return wrong(path, "tenants.%s.page_jwt.algorithms: %q, want some of %v", name, algorithm, jose.Algorithms())
		}
	}
	return nil
}

// checkPageJWTs checks what all files together say, and the key sets: what cannot be verified is not begun.
func (p *Policy) checkPageJWTs(dir string) error {
	for name, tenant := range p.tenants {
		if tenant.PageJWT == nil {
			continue
		}
		if len(tenant.Origins) == 0 {
			return wrong(dir, "tenants.%s.page_jwt needs tenants.%s.origins, whose pages it is about", name, name)
		}
		if _, err := ReadKeySet(tenant.PageJWT.JWKSFile); err != nil {
			return err
		}
	}
	return nil
}
