// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// maxAsks is how many questions to one agent may be open: a user has not more connections.
const maxAsks = 128

// openAsk is a question to an agent that somebody waits for.
type openAsk struct {
	route  cardbroker.Route // of the agent that was asked
	answer chan api.Answer  // capacity 1
}

// ask asks an agent over its link and waits for the answer, or until ctx ends; the agent is told of that. An agent that is gone
// is Unavailable.
func (h *Hub) ask(ctx context.Context, route cardbroker.Route, ask api.Ask) (api.Answer, error) {
	var id [16]byte
	rand.Read(id[:]) // never fails
	ask.ID = hex.EncodeToString(id[:])
	answer := make(chan api.Answer, 1)
	defer h.forgetAsk(ask.ID) // also what is open although its asker had just left
	var send func(api.FromBroker) error
	err := h.loop.Do(ctx, func(s *Links) error {
		l := s.links[route]
		if l == nil {
			return AgentGone(nil)
		}
		if s.countAsks(route) >= maxAsks {
			return cardbroker.Errorf(cardbroker.Overloaded, "%d questions to your agent are open", maxAsks)
		}
		send = l.Send
		s.asks[ask.ID] = &openAsk{route: route, answer: answer}
		return nil
	})
	if err != nil {
		return api.Answer{}, err
	}
	if err := send(api.FromBroker{Ask: &ask}); err != nil {
		return api.Answer{}, AgentGone(err)
	}
	select {
	case a := <-answer:
		if a.Error != nil {
			return a, a.Error.Error()
		}
		return a, nil
	case <-ctx.Done():
		send(api.FromBroker{Ask: &api.Ask{ID: ask.ID, Kind: api.AskEnd}}) // a failure ends the link, and with it the question
		return api.Answer{}, ctx.Err()
	}
}

// answered gives an agent's answer to who waits for it. An answer to nobody, or to another agent's question, is dropped.
func (h *Hub) answered(route cardbroker.Route, a api.Answer) error {
	return h.loop.Must(func(s *Links) error { // as Update
		if open := s.asks[a.ID]; open != nil && open.route == route {
			open.answer <- a // capacity 1, and this is the only answer
			delete(s.asks, a.ID)
		}
		return nil
	})
}

func (h *Hub) forgetAsk(id string) {
	h.loop.Must(func(s *Links) error { // fails only when all ends
		delete(s.asks, id)
		return nil
	})
}

func (s *Links) countAsks(route cardbroker.Route) (n int) {
	for _, open := range s.asks {
		if open.route == route {
			n++
		}
	}
	return n
}

// endAsks answers all who wait for an agent that has gone.
func (s *Links) endAsks(route cardbroker.Route) {
	gone := api.Describe(AgentGone(nil))
	for id, open := range s.asks {
		if open.route == route {
			open.answer <- api.Answer{ID: id, Error: &gone} // capacity 1, and this is the only answer
			delete(s.asks, id)
		}
	}
}
