// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"fmt"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
)

// Statuses of a check.
const (
	statusOK   = "ok"
	statusWarn = "warn"
	statusFail = "fail"
)

// diagnose looks at what an administrator should know: can the registry write, does every agent own its port, which
// doors are open.
func (b *Broker) diagnose() []api.Check {
	checks := []api.Check{b.checkStore(), b.checkAudit(), b.checkAccount(), b.checkIPv6(), b.checkDoor()}
	if t := b.cfg.Browsers.TLS; t != nil {
		checks = append(checks, t.Status())
	}
	for i, to := range b.cfg.DialOut {
		checks = append(checks, to.Check(i))
	}
	return append(checks, b.checkListeners()...)
}

func (b *Broker) checkStore() api.Check {
	if err := b.registry.Degraded(); err != nil {
		return api.Check{ID: "store", Status: statusFail, Detail: api.Describe(err).Description,
			Fix: "look at the disk of the state directory; reads go on meanwhile"}
	}
	return api.Check{ID: "store", Status: statusOK, Detail: "the registry can be written"}
}

func (b *Broker) checkAccount() api.Check {
	if b.self != (cardbroker.UserID{}) {
		return api.Check{ID: "account", Status: statusWarn, Detail: "the broker runs as " + coordinator.UserName(b.self) + ", not as root or a service account",
			Fix: "agents of other users refuse it unless their configuration names this account"}
	}
	return api.Check{ID: "account", Status: statusOK, Detail: "the broker runs as root"}
}

func (b *Broker) checkIPv6() api.Check {
	if len(b.cfg.Listen) < 2 {
		return api.Check{ID: "ipv6", Status: statusOK, Detail: "this host has no IPv6 loopback: 127.0.0.1 alone is used"}
	}
	return api.Check{ID: "ipv6", Status: statusOK, Detail: "both loopback addresses are held"}
}

func (b *Broker) checkDoor() api.Check {
	if b.cfg.Backend == nil {
		return api.Check{ID: "backend", Status: statusOK, Detail: "no door for back ends"}
	}
	return api.Check{ID: "backend", Status: statusOK, Detail: "back ends connect to " + b.cfg.Backend.URL}
}

// checkListeners finds registered agents whose port is not theirs.
func (b *Broker) checkListeners() []api.Check {
	var checks []api.Check
	for _, agent := range b.registry.View().Agents() {
		if agent.State != cardbroker.Registered {
			continue
		}
		if err := b.core.CheckPort(agent.Port, agent.Key.User, false); err != nil {
			checks = append(checks, api.Check{
				ID:     fmt.Sprintf("listener-%d", agent.Port),
				Status: statusFail,
				Detail: fmt.Sprintf("port %d of session %s: %s", agent.Port, agent.Key.Session, api.Describe(err).Description),
				Fix:    "find who listens there (ss -ltnp) and end that program; the agent gets another port when it restarts",
			})
		}
	}
	return checks
}
