// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/virtualreader/relay"
)

// openTimeout is how long an agent may take to answer a TunnelOpen; a consent prompt does not happen here.
const openTimeout = 10 * time.Second

// leg is one side of a tunnel.
type leg = relay.Leg

// switchboard knows which tunnels and forwarded connections wait for an agent's leg, which tunnels are passed on, and what was
// refused. All of it is the loop's of the hub, since it goes by links.
type switchboard struct {
	*coordinator.Hub
	pending  map[string]*pending        // by tunnel id
	forwards map[string]*waitingForward // by the forwarded connection's id
	splices  map[string]*spliced        // by tunnel id
	refusals []refusal                  // the newest last
}

// pending is a tunnel that waits for the agent's leg or refusal.
type pending struct {
	route  cardbroker.Route  // of the agent that was asked
	user   cardbroker.UserID // whose agent must bring the leg
	answer chan legAnswer    // capacity 1
	coming bool              // a leg is being brought, and no other one may be
}

type legAnswer struct {
	leg leg
	err error
}

// newSwitchboard returns a switchboard that has no hub yet, which calls its leave.
func newSwitchboard() *switchboard {
	return &switchboard{
		pending:  map[string]*pending{},
		forwards: map[string]*waitingForward{},
		splices:  map[string]*spliced{},
	}
}

// leave tells those who wait for an agent that has gone. It is called by the hub's loop.
func (s *switchboard) leave(l *coordinator.Link) {
	route := l.Agent.Route
	s.leaveForwards(route)
	for id, p := range s.pending {
		if p.route == route {
			p.answer <- legAnswer{err: coordinator.AgentGone(nil)} // capacity 1, and this is the only answer
			delete(s.pending, id)
		}
	}
}

// setOffers replaces what an agent offers.
func (s *switchboard) setOffers(route cardbroker.Route, offers api.Offers) error {
	return s.Update(route, func(v *coordinator.View) { v.Offers, v.Leases = offers.Offers, offers.Leases })
}

// open asks the agent behind route for its leg of a tunnel with a new id, and waits for it. Without a link it returns absent.
func (s *switchboard) open(ctx context.Context, route cardbroker.Route, open api.TunnelOpen, absent error) (leg, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	answer := make(chan legAnswer, 1)
	defer s.forget(open.ID, answer) // also what is pending although its asker had just left
	var send func(api.FromBroker) error
	err := s.Do(ctx, func(links *coordinator.Links) error {
		l := links.Of(route)
		if l == nil {
			return absent
		}
		send = l.Send
		s.pending[open.ID] = &pending{route: route, user: l.Agent.Key.User, answer: answer}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := send(api.FromBroker{Open: &open}); err != nil {
		return nil, coordinator.AgentGone(err)
	}
	select {
	case a := <-answer:
		return a.leg, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// forget ends the wait for a leg and closes one that came too late.
func (s *switchboard) forget(id string, answer chan legAnswer) {
	s.Must(func(*coordinator.Links) error {
		delete(s.pending, id)
		return nil
	})
	select {
	case late := <-answer:
		if late.leg != nil {
			late.leg.Close()
		}
	default:
	}
}

// claim says whether the tunnel id waits for a leg from an agent of this user, and has it wait for this one from now on.
func (s *switchboard) claim(ctx context.Context, id string, user cardbroker.UserID) error {
	return s.Do(ctx, func(*coordinator.Links) error {
		err := s.check(id, user)
		if err == nil && s.pending[id].coming {
			err = refuseLeg()
		}
		if err == nil {
			s.pending[id].coming = true
		}
		return err
	})
}

// deliver gives the leg, or the refusal, to who waits for it. It takes the leg over only if it returns nil.
func (s *switchboard) deliver(ctx context.Context, id string, user cardbroker.UserID, a legAnswer) error {
	return s.Do(ctx, func(*coordinator.Links) error {
		if err := s.check(id, user); err != nil {
			return err
		}
		s.pending[id].answer <- a // capacity 1, and this is the only answer
		delete(s.pending, id)
		return nil
	})
}

func (s *switchboard) check(id string, user cardbroker.UserID) error {
	if p := s.pending[id]; p == nil || p.user != user {
		return refuseLeg()
	}
	return nil
}

func refuseLeg() error {
	return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTicket, "no tunnel waits for this leg")
}

// refuseTicket is the one answer to every ticket that is not good: unknown, foreign, expired and used look alike.
func refuseTicket() error {
	return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTicket, "the ticket is not valid")
}
