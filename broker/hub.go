// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/loop"
)

// openTimeout is how long an agent may take to answer a TunnelOpen; a consent prompt does not happen here.
const openTimeout = 10 * time.Second

// hub knows the links of the agents: what each offers, and which tunnels are being opened through it. Its state is in
// memory only: it is gone, like the links, when the broker ends. One loop writes it; lists read the published view.
type hub struct {
	loop  *loop.Loop[*hubState]
	state *hubState // owned by the loop
	view  atomic.Pointer[[]linkView]
}

type hubState struct {
	links    map[cardbroker.Route]*link
	pending  map[string]*pending        // by tunnel id
	asks     map[string]*openAsk        // by id
	forwards map[string]*waitingForward // by the forwarded connection's id
	splices  map[string]*spliced        // by tunnel id
	watchers map[chan struct{}]struct{} // of capacity 1: a signal says that the view is new
	refusals []refusal                  // the newest last
	changed  bool                       // since the view was published
}

// link is one agent's live link.
type link struct {
	linkView
	send func(api.FromBroker) error // one message, with a write deadline
}

// linkView is what lists show of a link. Offers and leases are replaced, never changed.
type linkView struct {
	agent  cardbroker.Agent
	offers []api.OfferedReader
	leases []api.Lease
	key    api.DeviceKey // zero: not made yet

	presence api.Presence
}

// pending is a tunnel that waits for the agent's leg or refusal.
type pending struct {
	route  cardbroker.Route  // of the agent that was asked
	user   cardbroker.UserID // whose agent must bring the leg
	answer chan legAnswer    // capacity 1
}

type legAnswer struct {
	leg leg
	err error
}

func newHub() *hub {
	h := &hub{loop: loop.New[*hubState](), state: &hubState{
		links:    map[cardbroker.Route]*link{},
		pending:  map[string]*pending{},
		asks:     map[string]*openAsk{},
		forwards: map[string]*waitingForward{},
		splices:  map[string]*spliced{},
		watchers: map[chan struct{}]struct{}{},
	}}
	h.view.Store(&[]linkView{})
	return h
}

// Run owns the hub's state until ctx ends.
func (h *hub) Run(ctx context.Context) error { return h.loop.Run(ctx, h) }

// Begin returns the state itself: commands check before they change it, and nothing can fail after them.
func (h *hub) Begin() *hubState { return h.state }

// Commit publishes the view and wakes who watches.
func (h *hub) Commit(_ context.Context, s *hubState) error {
	if !s.changed {
		return nil
	}
	s.changed = false
	views := make([]linkView, 0, len(s.links))
	for _, l := range s.links {
		views = append(views, l.linkView)
	}
	h.view.Store(&views)
	for watcher := range s.watchers {
		loop.Signal(watcher)
	}
	return nil
}

// Deadline: nothing is ever due, tunnels that wait are bounded by their askers.
func (h *hub) Deadline() time.Time { return time.Time{} }

// Tick is never called.
func (h *hub) Tick(*hubState, time.Time) {}

// join adds a link.
func (h *hub) join(ctx context.Context, l *link) error {
	return h.loop.Do(ctx, func(s *hubState) error {
		s.links[l.agent.Route], s.changed = l, true
		return nil
	})
}

// leave takes a link away, unless that of the session's next agent has taken its place. Who waits for its agent waits no more.
func (h *hub) leave(l *link) error {
	route := l.agent.Route
	return h.loop.Must(func(s *hubState) error {
		if s.links[route] != l {
			return nil
		}
		delete(s.links, route)
		s.changed = true
		s.leaveForwards(route)
		for id, p := range s.pending {
			if p.route == route {
				p.answer <- legAnswer{err: agentGone(nil)} // capacity 1, and this is the only answer
				delete(s.pending, id)
			}
		}
		s.endAsks(route)
		return nil
	})
}

// watch returns a channel that signals each new view, beginning with the present one, until stop is called.
func (h *hub) watch(ctx context.Context) (changed <-chan struct{}, stop func(), err error) {
	watcher := make(chan struct{}, 1)
	watcher <- struct{}{}
	stop = func() {
		h.loop.Must(func(s *hubState) error {
			delete(s.watchers, watcher)
			return nil
		})
	}
	err = h.loop.Do(ctx, func(s *hubState) error {
		s.watchers[watcher] = struct{}{}
		return nil
	})
	if err != nil {
		stop() // the asker left, perhaps just after it was done
	}
	return watcher, stop, err
}

// senders returns what sends a message to each agent that has a link.
func (h *hub) senders(ctx context.Context) (senders []func(api.FromBroker) error, err error) {
	err = h.loop.Do(ctx, func(s *hubState) error {
		for _, l := range s.links {
			senders = append(senders, l.send)
		}
		return nil
	})
	return senders, err
}

// setOffers replaces what an agent offers.
func (h *hub) setOffers(ctx context.Context, route cardbroker.Route, offers api.Offers) error {
	return h.loop.Do(ctx, func(s *hubState) error {
		if l := s.links[route]; l != nil {
			l.offers, l.leases, s.changed = offers.Offers, offers.Leases, true
		}
		return nil
	})
}

// setPresence replaces what an agent says of its session.
func (h *hub) setPresence(ctx context.Context, route cardbroker.Route, p api.Presence) error {
	return h.loop.Do(ctx, func(s *hubState) error {
		if l := s.links[route]; l != nil {
			l.presence, s.changed = api.Presence{Kind: clip(p.Kind), Display: clip(p.Display), Known: p.Known, Locked: p.Locked, Away: p.Away}, true
		}
		return nil
	})
}

// setKey takes an agent's device key.
func (h *hub) setKey(ctx context.Context, route cardbroker.Route, key api.DeviceKey) error {
	return h.loop.Do(ctx, func(s *hubState) error {
		if l := s.links[route]; l != nil {
			l.key, s.changed = key, true
		}
		return nil
	})
}

// sender returns what sends a message to the agent behind route; nil: it has no link.
func (h *hub) sender(ctx context.Context, route cardbroker.Route) (send func(api.FromBroker) error, err error) {
	err = h.loop.Do(ctx, func(s *hubState) error {
		if l := s.links[route]; l != nil {
			send = l.send
		}
		return nil
	})
	return send, err
}

// keyOf returns the device key of the agent behind route; the zero key while there is none.
func (h *hub) keyOf(route cardbroker.Route) api.DeviceKey {
	for _, l := range *h.view.Load() {
		if l.agent.Route == route {
			return l.key
		}
	}
	return api.DeviceKey{}
}

// open asks the agent behind route for its leg of a tunnel with a new id, and waits for it. Without a link it returns absent.
func (h *hub) open(ctx context.Context, route cardbroker.Route, open api.TunnelOpen, absent error) (leg, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	answer := make(chan legAnswer, 1)
	defer h.forget(open.ID, answer) // also what is pending although its asker had just left
	var send func(api.FromBroker) error
	err := h.loop.Do(ctx, func(s *hubState) error {
		l := s.links[route]
		if l == nil {
			return absent
		}
		send = l.send
		s.pending[open.ID] = &pending{route: route, user: l.agent.Key.User, answer: answer}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := send(api.FromBroker{Open: &open}); err != nil {
		return nil, agentGone(err)
	}
	select {
	case a := <-answer:
		return a.leg, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// forget ends the wait for a leg and closes one that came too late.
func (h *hub) forget(id string, answer chan legAnswer) {
	h.loop.Must(func(s *hubState) error {
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

// expects says whether the tunnel id waits for a leg from an agent of this user.
func (h *hub) expects(ctx context.Context, id string, user cardbroker.UserID) error {
	return h.loop.Do(ctx, func(s *hubState) error { return s.check(id, user) })
}

// deliver gives the leg, or the refusal, to who waits for it. It takes the leg over only if it returns nil.
func (h *hub) deliver(ctx context.Context, id string, user cardbroker.UserID, a legAnswer) error {
	return h.loop.Do(ctx, func(s *hubState) error {
		if err := s.check(id, user); err != nil {
			return err
		}
		s.pending[id].answer <- a // capacity 1, and this is the only answer
		delete(s.pending, id)
		return nil
	})
}

func (s *hubState) check(id string, user cardbroker.UserID) error {
	if p := s.pending[id]; p == nil || p.user != user {
		return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTicket, "no tunnel waits for this leg")
	}
	return nil
}

func agentGone(err error) error {
	return cardbroker.Wrapf(err, cardbroker.Unavailable, "the agent is gone")
}

// refuseTicket is the one answer to every ticket that is not good: unknown, foreign, expired and used look alike.
func refuseTicket() error {
	return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTicket, "the ticket is not valid")
}
