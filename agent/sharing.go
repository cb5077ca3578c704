// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
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

// awaitSharing closes readers that another user may reach until the broker has said whether there is one.
func (a *Agent) awaitSharing() {
	if a.cfg.PCSC.endangered() {
		a.cards.Forbid(cardbroker.Errorf(cardbroker.Unavailable, "not registered yet: whether other users reach the readers is not known"))
	}
}

// noteSharing closes readers that another user may reach while the broker says that one has an agent on this host. What
// was said is kept while there is no link.
func (a *Agent) noteSharing(s api.Sharing) {
	if s.Shared && a.cfg.PCSC.endangered() {
		a.cfg.Log.Warn("other users are on this host and reach the same PC/SC service; its readers are closed")
		a.cards.Forbid(cardbroker.Errorf(cardbroker.ReaderSharedHost,
			"other users of this host reach the PC/SC service at %s, too; give each session one of its own (PCSCLITE_CSOCK_NAME, --pcsc-socket) "+
				"in a directory of mode 0700, or have policy say pcsc.shared: allow", a.cfg.PCSC.Socket))
		return
	}
	a.cards.Forbid(nil)
}
