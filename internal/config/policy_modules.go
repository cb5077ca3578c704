// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

// Module is a PKCS#11 module that the session's pages and programs may use, by its name: none of them ever names a file.
type Module struct {
	Name       string   // as it stands in URLs: a lower-case letter, then such letters, digits, - and _, 32 at most
	Title      string   // for people
	Library    string   // absolute path of a file that is root's alone
	PCSC       bool     // its tokens are cards in PC/SC readers, and are used in the reader's turn
	ATRs       []string // cards that it is for: hexadecimal, x for any digit, * for any rest; empty: all
	Env        []string // NAME=value, beside those of PC/SC
	Read       []string // files and directories that it reads
	Write      []string // directories that it writes to
	Mechanisms []string // CKM_… that may be used; empty: all that we know
}

// Modules returns the modules that policy names, by name.
func (p Policy) Modules() []Module { return p.modules }

// Module returns the module of that name.
func (p Policy) Module(name string) (Module, bool) {
	for _, m := range p.modules {
		if m.Name == name {
			return m, true
		}
	}
	return Module{}, false
}
