// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import "github.com/cardbroker/cardbroker"

// maxExclude is how many patterns policy may have: each reader's name is held against all of them.
const maxExclude = 64

// readersText is the section readers: which of them agents do not have.
type readersText struct {
	Exclude []string `yaml:"exclude"`
}

// remoteText is the section remote_loading: what web pages may send to cards.
type remoteText struct {
	PIN *string `yaml:"pin"`
}

// loadReaders puts what a file says of readers over what was read before.
func (p *Policy) loadReaders(path string, said readersText) error {
	if said.Exclude == nil {
		return nil
	}
	if len(said.Exclude) > maxExclude {
		return wrong(path, "readers.exclude: %d patterns, want %d or fewer", len(said.Exclude), maxExclude)
	}
	p.Exclude = make([]cardbroker.ReaderPattern, len(said.Exclude))
	for i, text := range said.Exclude {
		pattern, err := cardbroker.ParseReaderPattern(text)
		if err != nil {
			return wrong(path, "readers.exclude[%d]: %v", i, err)
		}
		p.Exclude[i] = pattern
	}
	return nil
}

// loadRemote puts what a file says of remote loading over what was read before.
func (p *Policy) loadRemote(path string, said remoteText) error {
	if pin := said.PIN; pin != nil {
		if *pin != "allow" && *pin != "deny" {
			return wrong(path, "remote_loading.pin: %q, want allow or deny", *pin)
		}
		p.PagePINs = *pin == "allow"
	}
	return nil
}

// Excludes says whether agents do not have the reader of that name.
func (p *Policy) Excludes(reader string) bool {
	for _, pattern := range p.Exclude {
		if pattern.Matches(reader) {
			return true
		}
	}
	return false
}
