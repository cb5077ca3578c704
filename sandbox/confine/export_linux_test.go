// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package confine

// For the tests of the filter.
var (
	Filter  = filter
	Refused = refused
	Install = install
	Handled = handled
	RulesOf = func(version int, program string, needs Needs) map[string]uint64 {
		rights := make(map[string]uint64)
		for _, r := range rulesOf(version, program, needs) {
			rights[r.path] |= r.rights
		}
		return rights
	}
)

const AuditArch = auditArch
