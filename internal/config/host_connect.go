// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/url"
	"strings"

	"github.com/cardbroker/cardbroker"
)

// Connect is a rendezvous that the broker calls, where the site lets no back end in. All that comes from there is the tenant's.
type Connect struct {
	URL       string `yaml:"url"`        // wss://host:port
	Tenant    string `yaml:"tenant"`     // whose rendezvous it is
	CA        string `yaml:"ca"`         // PEM file: who vouches for it; whom the system trusts
	Cert      string `yaml:"cert"`       // PEM file: what the host shows who it is by
	Key       string `yaml:"key"`        // PEM file
	TokenFile string `yaml:"token_file"` // in place of cert and key; mode 0600
	Proxy     string `yaml:"proxy"`      // http://host:port, on the way there; none
}

// maxConnect is the most rendezvous that one host calls.
const maxConnect = 64

// checkConnect checks what can be checked without reading other files.
func checkConnect(path string, connect []Connect) error {
	if len(connect) > maxConnect {
		return unfit(path, "backend.connect: %d entries, want %d or less", len(connect), maxConnect)
	}
	seen := make(map[string]bool)
	for i, c := range connect {
		if _, err := cardbroker.ParseTenant(c.Tenant); err != nil {
			return unfit(path, "backend.connect[%d].tenant: %q is not a tenant's name", i, c.Tenant)
		}
		switch {
		case !hostAndPort(c.URL, "wss"):
			return unfit(path, "backend.connect[%d].url: want wss://host:port", i)
		case c.Proxy != "" && !hostAndPort(c.Proxy, "http"):
			return unfit(path, "backend.connect[%d].proxy: want http://host:port", i)
		case (c.Cert == "") != (c.Key == ""):
			return unfit(path, "backend.connect[%d]: cert and key go together", i)
		case (c.Cert == "") == (c.TokenFile == ""):
			return unfit(path, "backend.connect[%d]: want cert and key, or token_file: the rendezvous asks who calls", i)
		case seen[c.URL]:
			return unfit(path, "backend.connect[%d].url: %s stands twice", i, c.URL)
		}
		seen[c.URL] = true
	}
	return nil
}

// hostAndPort says whether a URL has this scheme, a host and perhaps a port, and nothing else.
func hostAndPort(text, scheme string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == scheme && u.Hostname() != "" && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.User == nil
}
