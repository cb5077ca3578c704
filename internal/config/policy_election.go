// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

// Election is what the administrator allows agents that elect their registry. [LoadPolicy] sets the defaults; the zero
// value allows least.
type Election struct {
	AnyUser      bool // agents of several users share one elected registry
	AfterService bool // agents elect again on a host whose service has gone
}

// defaultElection counts where policy is silent.
func defaultElection() Election { return Election{AfterService: true} }

// electionText is what a file says of it. A pointer that is nil was not there.
type electionText struct {
	Scope        *string `yaml:"scope"`
	AfterService *string `yaml:"after_service"`
}

func (e *Election) load(path string, said electionText) error {
	if scope := said.Scope; scope != nil {
		if *scope != "same_user" && *scope != "any_user" {
			return wrong(path, "election.scope: %q, want same_user or any_user", *scope)
		}
		e.AnyUser = *scope == "any_user"
	}
	if after := said.AfterService; after != nil {
		if *after != "allow" && *after != "deny" {
			return wrong(path, "election.after_service: %q, want allow or deny", *after)
		}
		e.AfterService = *after == "allow"
	}
	return nil
}
