// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/broker/forward"
)

// waitingForward is a connection that waits for the agent to fetch it.
type waitingForward struct {
	route  cardbroker.Route  // of the agent that was told; "": it has gone
	user   cardbroker.UserID // whose agent must bring the leg
	answer chan forward.Leg  // capacity 1; nil: the agent has gone, or has not brought it after all
	coming bool              // a leg is being brought, and no other one may be
}

// forward tells the agent behind route of a connection with a new id, and waits for its leg. Errors: Unavailable.
func (s *switchboard) forward(ctx context.Context, route cardbroker.Route, f api.Forward) (forward.Leg, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	answer := make(chan forward.Leg, 1)
	defer s.forgetForward(f.ID, answer)
	var send func(api.FromBroker) error
	err := s.Do(ctx, func(links *coordinator.Links) error {
		l := links.Of(route)
		if l == nil {
			return coordinator.AgentGone(nil)
		}
		send = l.Send
		s.forwards[f.ID] = &waitingForward{route: route, user: l.Agent.Key.User, answer: answer}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := send(api.FromBroker{Forward: &f}); err != nil {
		return nil, coordinator.AgentGone(err)
	}
	select {
	case leg := <-answer:
		if leg == nil {
			return nil, coordinator.AgentGone(nil)
		}
		return leg, nil
	case <-ctx.Done():
		return nil, cardbroker.Wrapf(ctx.Err(), cardbroker.Unavailable, "the agent does not answer")
	}
}

// forgetForward ends the wait for a leg and closes one that came too late.
func (s *switchboard) forgetForward(id string, answer chan forward.Leg) {
	s.Must(func(*coordinator.Links) error {
		delete(s.forwards, id)
		return nil
	})
	select {
	case late := <-answer:
		if late != nil {
			late.Close()
		}
	default:
	}
}

// claimForward says whether the connection id waits for an agent of this user, and has it wait for this one leg from now on.
func (s *switchboard) claimForward(ctx context.Context, id string, user cardbroker.UserID) error {
	return s.Do(ctx, func(*coordinator.Links) error {
		err := s.checkForward(id, user)
		if err == nil && s.forwards[id].coming {
			err = refuseForward()
		}
		if err == nil {
			s.forwards[id].coming = true
		}
		return err
	})
}

// deliverForward gives the leg that was claimed, or nil, to who waits for it. It takes the leg over only if it returns nil.
func (s *switchboard) deliverForward(ctx context.Context, id string, user cardbroker.UserID, leg forward.Leg) error {
	return s.Do(ctx, func(*coordinator.Links) error {
		if err := s.checkForward(id, user); err != nil {
			return err
		}
		s.forwards[id].answer <- leg // capacity 1, and this is the only answer
		delete(s.forwards, id)
		return nil
	})
}

func (s *switchboard) checkForward(id string, user cardbroker.UserID) error {
	if f := s.forwards[id]; f == nil || f.user != user {
		return refuseForward()
	}
	return nil
}

func refuseForward() error {
	return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleForward, "no connection waits for this leg")
}

// leaveForwards tells those who wait for an agent that has gone.
func (s *switchboard) leaveForwards(route cardbroker.Route) {
	for id, f := range s.forwards {
		if f.route == route {
			f.answer <- nil // capacity 1, and this is the only answer
			delete(s.forwards, id)
		}
	}
}
