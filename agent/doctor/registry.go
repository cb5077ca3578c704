// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/doctor"
)

// stands says whether agents here elect their registry while there is no service.
func (w *World) stands() bool { return w.Registry.Port != 0 }

// elected says whether the registry was elected, and works.
func (w *World) elected() bool {
	r := w.Registry
	return w.BrokerErr != nil && w.stands() && r.Trusted && !r.Missing && r.Err == nil && r.Mode == api.ModeElected
}

// who is whoever has the registry's port.
func (r Registry) who() string {
	if r.PID != 0 {
		return fmt.Sprintf("process %d (%s) of user %s", r.PID, r.Name, r.User)
	}
	return "a process of user " + r.User.String()
}

// registry says who keeps the registry where agents stand for election.
func (w *World) registry() []doctor.Finding {
	if !w.stands() {
		return nil
	}
	found := one(w.leader())
	if w.Policy.Election.AnyUser {
		found = append(found, doctor.Warn("registry", "have a service run (cardbroker host run): it is root's, or has an account of its own; or have policy say election.scope: same_user",
			"policy lets any user's agent be elected (election.scope: any_user): a user who means harm and takes port %d can send your web pages to a false agent, which sees the PINs that you type into them", w.Registry.Port))
	}
	return found
}

// leader says who it is, and why not a service.
func (w *World) leader() doctor.Finding {
	const start = "wait 10 s if a service has just gone; else have it started (cardbroker host run), or an agent: cardbroker agent run --elect"
	r := w.Registry
	switch {
	case w.BrokerErr == nil:
		return doctor.OK("registry", "the registry is the host's service; without it, agents would elect one at port %d", r.Port)
	case !w.Policy.Election.AfterService && w.Installed:
		return doctor.Fail(cardbroker.Unavailable, "registry", "have the service started again (cardbroker host run)",
			"a service has been at %s and is gone, and policy has agents wait for it (election.after_service: deny)", w.Socket)
	case r.Missing:
		return doctor.Fail(cardbroker.NoLeader, "registry", start, "no service answers at %s, and no agent is elected: nobody listens on port %d", w.Socket, r.Port)
	case r.Service:
		return doctor.Fail(cardbroker.Unavailable, "registry", "have the service started again, or name its socket with --socket",
			"a service (%s) has port %d, but none answers at %s", r.who(), r.Port, w.Socket)
	case !r.Trusted:
		return doctor.Fail(cardbroker.CallerRefused, "registry", "have that program ended, or the service started (cardbroker host run)",
			"another user's program is where the registry is elected: %s has port %d, and agents trust nobody else's (election.scope: same_user)", r.who(), r.Port)
	case cardbroker.ReasonOf(r.Err) == cardbroker.Timeout:
		return doctor.Fail(cardbroker.Timeout, "registry", "end that process; the agents elect another then",
			"the registry hangs: %s has port %d and does not answer", r.who(), r.Port)
	case r.Err != nil || r.Mode != api.ModeElected:
		return doctor.Fail(cardbroker.Conflict, "registry", "end that program, or have it listen elsewhere", "what is on port %d is no registry: %s", r.Port, r.who())
	}
	return doctor.OK("registry", "no service answers at %s, and the registry is an agent that was elected: %s, at port %d, in term %d since %s",
		w.Socket, r.who(), r.Port, r.Epoch, r.Since.Local().Format(time.DateTime))
}
