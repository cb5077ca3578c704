// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"crypto/subtle"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
)

// maxAvoid bounds the ports that one reservation may exclude, and with it the search.
const maxAvoid = 64

// tx is one batch on the table. Its methods are the rules of the Registry: each checks everything before it changes
// anything, touches memory only, and sees what the batch's earlier ones did.
type tx struct {
	*table
	now           time.Time
	before        map[cardbroker.Port]slot // what the batch changed, as it was
	registrations []*registration
}

// registration is a registration whose asker may leave while it is committed: then nobody would end it. So one of the
// two decides, whoever is first: the asker, that it does not count, or the loop, that it stands.
type registration struct {
	decided atomic.Bool
	agent   cardbroker.Agent // written before it is decided
}

// abandon says that nobody takes the registration; false: it stands already.
func (r *registration) abandon() bool { return r.decided.CompareAndSwap(false, true) }

// stand says that the registration is committed; false: its asker has left.
func (r *registration) stand() bool { return r.decided.CompareAndSwap(false, true) }

// set changes a slot; the zero slot frees the port.
func (t *tx) set(port cardbroker.Port, s slot) {
	if _, seen := t.before[port]; !seen {
		t.before[port] = t.slots[port]
	}
	t.put(port, s)
}

// undo takes the batch back.
func (t *tx) undo() {
	for port, s := range t.before {
		t.put(port, s)
	}
}

// confirm ends the registrations of askers that have left during the commit: for the ledger they stand, like those that
// lose their Link now.
func (t *tx) confirm() {
	for _, r := range t.registrations {
		if !r.stand() {
			t.detach(r.agent)
		}
	}
}

func (t *tx) reserve(c Claim, avoid []cardbroker.Port) (cardbroker.Reservation, error) {
	if len(avoid) > maxAvoid {
		return cardbroker.Reservation{}, cardbroker.Errorf(cardbroker.Invalid, "%d ports to avoid, want at most %d", len(avoid), maxAvoid)
	}
	port, known := t.ports[c.Key]
	switch {
	case !known && t.users[c.Key.User].held >= t.cfg.PerUser:
		return cardbroker.Reservation{}, t.quota()
	case known && t.slots[port].agent.State == cardbroker.Registered:
		return cardbroker.Reservation{}, cardbroker.Errorf(cardbroker.Conflict, "an agent of this session is registered")
	case known && !slices.Contains(avoid, port):
		return t.promise(port, c), nil
	}
	found, err := t.search(c.Key, avoid)
	if err != nil {
		return cardbroker.Reservation{}, err
	}
	if known {
		t.release(port)
	}
	return t.promise(found, c), nil
}

// promise gives the agent a port that is free or its own already.
func (t *tx) promise(port cardbroker.Port, c Claim) cardbroker.Reservation {
	s := slot{
		agent:    cardbroker.Agent{Key: c.Key, Port: port, State: cardbroker.Reserved, PID: c.PID, Since: t.now},
		claim:    c.Hash,
		deadline: t.now.Add(t.cfg.ReserveFor),
	}
	if old := t.slots[port]; old.agent.State == cardbroker.Reserved {
		s.agent.Since = old.agent.Since
	}
	t.set(port, s)
	return cardbroker.Reservation{Port: port, Deadline: s.deadline}
}

func (t *tx) renew(c Claim) (cardbroker.Reservation, error) {
	s, err := t.claimed(c)
	if err != nil {
		return cardbroker.Reservation{}, err
	}
	if s.agent.State != cardbroker.Reserved {
		return cardbroker.Reservation{}, cardbroker.Errorf(cardbroker.Conflict, "the agent is %s, not %s", s.agent.State, cardbroker.Reserved)
	}
	s.deadline = t.now.Add(t.cfg.ReserveFor)
	t.set(s.agent.Port, s)
	return cardbroker.Reservation{Port: s.agent.Port, Deadline: s.deadline}, nil
}

func (t *tx) register(c Claim, r *registration) (cardbroker.Agent, error) {
	s, err := t.claimed(c)
	if err != nil {
		return cardbroker.Agent{}, err
	}
	if s.agent.State == cardbroker.Registered {
		return cardbroker.Agent{}, cardbroker.Errorf(cardbroker.Conflict, "an agent of this session is registered")
	}
	return t.attach(s, c, r), nil
}

// assert registers an agent at a port that it has bound by itself.
func (t *tx) assert(c Claim, port cardbroker.Port, r *registration) (cardbroker.Agent, error) {
	_, inRange := slices.BinarySearch(t.cfg.Ports, port)
	own, known := t.ports[c.Key]
	at := t.slots[port].agent
	switch {
	case !inRange:
		return cardbroker.Agent{}, cardbroker.Refusef(cardbroker.Conflict, cardbroker.RulePortTaken, "port %d is none of the agents' ports", port)
	case known && t.slots[own].agent.State == cardbroker.Registered:
		return cardbroker.Agent{}, cardbroker.Errorf(cardbroker.Conflict, "an agent of this session is registered")
	case at.Key != c.Key && (at.State == cardbroker.Registered || at.State == cardbroker.Reserved):
		return cardbroker.Agent{}, cardbroker.Refusef(cardbroker.Conflict, cardbroker.RulePortTaken, "port %d is another agent's", port)
	case !known && t.users[c.Key.User].held >= t.cfg.PerUser:
		return cardbroker.Agent{}, t.quota()
	case known && own != port:
		t.release(own)
	}
	return t.attach(slot{agent: cardbroker.Agent{Key: c.Key, Port: port}, claim: c.Hash}, c, r), nil
}

// attach makes the agent of a slot REGISTERED.
func (t *tx) attach(s slot, c Claim, r *registration) cardbroker.Agent {
	s.agent.State, s.agent.PID, s.agent.Since = cardbroker.Registered, c.PID, t.now
	if s.agent.Route == "" {
		s.agent.Route = t.route(c.Key)
	}
	s.deadline = time.Time{}
	t.set(s.agent.Port, s)
	r.agent = s.agent
	t.registrations = append(t.registrations, r)
	return s.agent
}

func (t *tx) quota() error {
	return cardbroker.Refusef(cardbroker.RateLimited, cardbroker.RuleQuota, "this user has %d agents already", t.cfg.PerUser)
}

// detach makes the agent STALE if that registration is still the one that counts. The Route alone does not tell: an agent
// that re-attaches keeps it.
func (t *tx) detach(agent cardbroker.Agent) {
	s := t.slots[agent.Port]
	if s.agent != agent || agent.State != cardbroker.Registered {
		return
	}
	s.agent.State, s.agent.Since, s.deadline = cardbroker.Stale, t.now, t.now.Add(t.cfg.Grace)
	t.set(agent.Port, s)
}

func (t *tx) releaseClaimed(c Claim) error {
	if _, known := t.ports[c.Key]; !known {
		return nil
	}
	s, err := t.claimed(c)
	if err == nil {
		t.release(s.agent.Port)
	}
	return err
}

// release puts a held port into quarantine, or frees it if its user has too many there: quarantine is a courtesy, and
// must not let one user use up the range.
func (t *tx) release(port cardbroker.Port) {
	agent := t.slots[port].agent
	if t.users[agent.Key.User].quarantined >= t.cfg.PerUser {
		t.set(port, slot{})
		return
	}
	t.set(port, slot{
		agent:    cardbroker.Agent{Key: agent.Key, Port: port, State: quarantined},
		deadline: t.now.Add(t.cfg.Quarantine),
	})
}

// claimed returns the agent's slot if the claim is right. It does not tell an unknown agent from a wrong claim.
func (t *tx) claimed(c Claim) (slot, error) {
	s := t.slots[t.ports[c.Key]]
	if !s.held() || subtle.ConstantTimeCompare(s.claim[:], c.Hash[:]) != 1 {
		return slot{}, cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleClaim, "no reservation with this claim")
	}
	return s, nil
}
