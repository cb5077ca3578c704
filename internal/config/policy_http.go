// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

// httpText is the section http: who is served on the agents' ports.
type httpText struct {
	LocalPrograms *string `yaml:"local_programs"`
}

// loadHTTP puts what a file says of HTTP over what was read before.
func (p *Policy) loadHTTP(path string, said httpText) error {
	if programs := said.LocalPrograms; programs != nil {
		if *programs != "allow" && *programs != "deny" {
			return wrong(path, "http.local_programs: %q, want allow or deny", *programs)
		}
		p.PagesOnly = *programs == "deny"
	}
	return nil
}
