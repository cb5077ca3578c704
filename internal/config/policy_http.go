// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

// httpText is the section http: who is served on the agents' ports.
type httpText struct {
	LocalPrograms *string `yaml:"local_programs"`
	Demo          *string `yaml:"demo"`
}

// loadHTTP puts what a file says of HTTP over what was read before.
func (p *Policy) loadHTTP(path string, said httpText) error {
	for _, key := range []struct {
		name   string
		said   *string
		denied *bool
	}{{"local_programs", said.LocalPrograms, &p.PagesOnly}, {"demo", said.Demo, &p.NoDemo}} {
		if key.said == nil {
			continue
		}
		if *key.said != "allow" && *key.said != "deny" {
			return wrong(path, "http.%s: %q, want allow or deny", key.name, *key.said)
		}
		*key.denied = *key.said == "deny"
	}
	return nil
}
