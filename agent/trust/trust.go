// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package trust is what an agent believes of the registry that it is linked to. A service is the administrator's, and believed. Who was
// elected is a program of some user's: it may bring the questions of web pages, and say who else is there; whatever else it says ends
// the link. It owns the memory of the highest epoch, and does no I/O.
package trust

import (
	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/epoch"
)

// Registry is who is at the other end of a link, by the kernel's word. The zero Registry is a service.
type Registry struct {
	Elected bool // one of the agents
	Foreign bool // another user's
}

// Hear returns a message as it may be believed. Errors: Forbidden for what an elected registry may not say, Invalid.
func (r Registry) Hear(m api.FromBroker) (api.FromBroker, error) {
	switch {
	case !r.Elected && m.Voters != nil:
		return m, cardbroker.Errorf(cardbroker.Invalid, "a service has no voters")
	case !r.Elected:
		return m, nil
	case m.Open != nil:
		return m, forbidden("open a tunnel")
	case m.Forward != nil:
		return m, forbidden("forward a connection")
	case m.Kicked != nil:
		return m, forbidden("end an agent")
	case m.Revoke != nil:
		return m, forbidden("end a lease")
	}
	if m.Sharing != nil && r.Foreign {
		m.Sharing = &api.Sharing{Shared: true, Turns: m.Sharing.Turns}
	}
	return m, nil
}

// Registered returns the answer to a registration as it may be believed. port is what was asserted. Errors: Forbidden, Invalid.
func (r Registry) Registered(said api.Registered, port cardbroker.Port) (api.Registered, error) {
	if elected := said.Mode == api.ModeElected; elected != r.Elected {
		return said, cardbroker.Errorf(cardbroker.Invalid, "the registry calls itself %q, and is not", said.Mode)
	}
	if !r.Elected {
		return said, nil
	}
	switch {
	case said.Port != port:
		return said, cardbroker.Errorf(cardbroker.Invalid, "the registry has port %d for this agent, which listens on port %d", said.Port, port)
	case said.BackendURL != "" || len(said.Dialled) > 0:
		return said, forbidden("have a door for back ends")
	case said.Name != "":
		return said, forbidden("name this host")
	}
	if r.Foreign { // then there are agents of two users, whatever it says
		said.Sharing.Shared = true
	}
	return said, nil
}

func forbidden(what string) error {
	return cardbroker.Errorf(cardbroker.Forbidden, "an elected registry may not %s", what)
}

// Epochs remembers the highest number of an elected registry's term. It belongs to one goroutine.
type Epochs struct{ highest uint64 }

// Accept refuses the number of a term before one that was seen (StaleEpoch), and of one that cannot have begun yet (Invalid).
func (e *Epochs) Accept(n uint64) error {
	if err := epoch.Check(n); err != nil {
		return err
	}
	if n < e.highest {
		return cardbroker.Errorf(cardbroker.StaleEpoch, "the registry is of term %d, and one of term %d was seen already", n, e.highest)
	}
	e.highest = n
	return nil
}
