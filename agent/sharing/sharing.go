// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package sharing closes what reaches the session's cards while other users may reach them, too: a PC/SC service has no notion of
// users. It keeps no state; what was closed is the supervisors' own.
package sharing

import (
	"log/slog"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// PCSC says which PC/SC service has the session's readers.
type PCSC struct {
	Socket      string // path of its socket; empty: there is none, the readers are software
	SharedAllow bool   // machine policy lets one that several users reach be used on a shared host
}

// endangered says whether the readers are another user's, too, as soon as there is one.
func (p PCSC) endangered() bool { return p.Socket != "" && !p.SharedAllow && reachable(p.Socket) }

// Supervisor has processes that reach cards.
type Supervisor interface {
	// Forbid has every use of PC/SC answered with why from now on, and ends what runs; nil allows it again.
	Forbid(why error) error
	// Renew has the processes begin anew.
	Renew() error
}

// Supervisors are all of a session's.
type Supervisors []Supervisor

// Renew has all begin anew.
func (s Supervisors) Renew() {
	for _, each := range s {
		each.Renew()
	}
}

func (s Supervisors) forbid(why error) {
	for _, each := range s {
		each.Forbid(why)
	}
}

// Await closes readers that another user may reach until the broker has said whether there is one.
func (s Supervisors) Await(p PCSC) {
	if p.endangered() {
		s.forbid(cardbroker.Errorf(cardbroker.Unavailable, "not registered yet: whether other users reach the readers is not known"))
	}
}

// Note closes readers that another user may reach while the broker says that one has an agent on this host. What was said is
// kept while there is no link.
func (s Supervisors) Note(p PCSC, said api.Sharing, log *slog.Logger) {
	if said.Shared && p.endangered() {
		log.Warn("other users are on this host and reach the same PC/SC service; its readers are closed")
		s.forbid(cardbroker.Errorf(cardbroker.ReaderSharedHost,
			"other users of this host reach the PC/SC service at %s, too; give each session one of its own (PCSCLITE_CSOCK_NAME, --pcsc-socket) "+
				"in a directory of mode 0700, or have policy say pcsc.shared: allow", p.Socket))
		return
	}
	s.forbid(nil)
}
