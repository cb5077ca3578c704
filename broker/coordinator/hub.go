// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"iter"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/loop"
)

// Hub knows the links of the agents, and what each says of itself. Its state is in memory only: it is gone, like the links,
// when their coordinator ends. One loop writes it; lists read the published view. Make it with [NewHub].
type Hub struct {
	loop  *loop.Loop[*Links]
	state *Links // owned by the loop
	view  atomic.Pointer[[]View]
	left  func(*Link)
}

// Links is the hub's state. Whoever has it is the loop, in [Hub.Do].
type Links struct {
	links    map[cardbroker.Route]*Link
	asks     map[string]*openAsk        // by id
	watchers map[chan struct{}]struct{} // of capacity 1: a signal says that the view is new
	changed  bool                       // since the view was published
}

// Of returns the link of the agent behind route; nil: it has none.
func (s *Links) Of(route cardbroker.Route) *Link { return s.links[route] }

// All returns the links, in no order.
func (s *Links) All() iter.Seq[*Link] { return maps.Values(s.links) }

// Link is one agent's live link. Its View is the loop's.
type Link struct {
	View
	Send func(api.FromBroker) error // one message, with a write deadline
}

// View is what lists show of a link. Offers and leases are replaced, never changed.
type View struct {
	Agent    cardbroker.Agent
	Offers   []api.OfferedReader
	Leases   []api.Lease
	Key      api.DeviceKey // zero: not made yet
	Presence api.Presence
	Voter    *api.Voter // who it is as a candidate; nil: it does not stand for election
}

// NewHub returns a hub without links that has not started. left is told of each link that ends, by the loop: it touches memory
// only. nil: nobody wants to know.
func NewHub(left func(*Link)) *Hub {
	h := &Hub{loop: loop.New[*Links](), left: left, state: &Links{
		links:    map[cardbroker.Route]*Link{},
		asks:     map[string]*openAsk{},
		watchers: map[chan struct{}]struct{}{},
	}}
	h.view.Store(&[]View{})
	return h
}

// Run owns the hub's state until ctx ends.
func (h *Hub) Run(ctx context.Context) error { return h.loop.Run(ctx, h) }

// Do has apply run in the loop, as [loop.Loop.Do]: what else goes by links can be owned by it, too.
func (h *Hub) Do(ctx context.Context, apply func(*Links) error) error { return h.loop.Do(ctx, apply) }

// Must is Do for what cannot be left undone, as [loop.Loop.Must].
func (h *Hub) Must(apply func(*Links) error) error { return h.loop.Must(apply) }

// View returns what the links are. It never waits; nobody changes what it returns.
func (h *Hub) View() []View { return *h.view.Load() }

// Begin returns the state itself: commands check before they change it, and nothing can fail after them.
func (h *Hub) Begin() *Links { return h.state }

// Commit publishes the view and wakes who watches.
func (h *Hub) Commit(_ context.Context, s *Links) error {
	if !s.changed {
		return nil
	}
	s.changed = false
	views := make([]View, 0, len(s.links))
	for _, l := range s.links {
		views = append(views, l.View)
	}
	h.view.Store(&views)
	for watcher := range s.watchers {
		loop.Signal(watcher)
	}
	return nil
}

// Deadline: nothing is ever due, what waits for an agent is bounded by its asker.
func (h *Hub) Deadline() time.Time { return time.Time{} }

// Tick is never called.
func (h *Hub) Tick(*Links, time.Time) {}

// Join adds a link.
func (h *Hub) Join(ctx context.Context, l *Link) error {
	return h.loop.Do(ctx, func(s *Links) error {
		s.links[l.Agent.Route], s.changed = l, true
		return nil
	})
}

// Leave takes a link away, unless that of the session's next agent has taken its place. Who waits for its agent waits no more.
func (h *Hub) Leave(l *Link) error {
	route := l.Agent.Route
	return h.loop.Must(func(s *Links) error {
		if s.links[route] != l {
			return nil
		}
		delete(s.links, route)
		s.changed = true
		if h.left != nil {
			h.left(l)
		}
		s.endAsks(route)
		return nil
	})
}

// Watch returns a channel that signals each new view, beginning with the present one, until stop is called.
func (h *Hub) Watch(ctx context.Context) (changed <-chan struct{}, stop func(), err error) {
	watcher := make(chan struct{}, 1)
	watcher <- struct{}{}
	stop = func() {
		h.loop.Must(func(s *Links) error {
			delete(s.watchers, watcher)
			return nil
		})
	}
	err = h.loop.Do(ctx, func(s *Links) error {
		s.watchers[watcher] = struct{}{}
		return nil
	})
	if err != nil {
		stop() // the asker left, perhaps just after it was done
	}
	return watcher, stop, err
}

// senders returns what sends a message to each agent that has a link.
func (h *Hub) senders(ctx context.Context) (senders []func(api.FromBroker) error, err error) {
	err = h.loop.Do(ctx, func(s *Links) error {
		for _, l := range s.links {
			senders = append(senders, l.Send)
		}
		return nil
	})
	return senders, err
}

// Update changes what a link's agent says of itself. It waits for room in a full mailbox: an agent is not told that its words were too many,
// it would lose its link.
func (h *Hub) Update(route cardbroker.Route, change func(*View)) error {
	return h.loop.Must(func(s *Links) error {
		if l := s.links[route]; l != nil {
			change(&l.View)
			s.changed = true
		}
		return nil
	})
}

// Sender returns what sends a message to the agent behind route; nil: it has no link.
func (h *Hub) Sender(ctx context.Context, route cardbroker.Route) (send func(api.FromBroker) error, err error) {
	err = h.loop.Do(ctx, func(s *Links) error {
		if l := s.links[route]; l != nil {
			send = l.Send
		}
		return nil
	})
	return send, err
}

// keyOf returns the device key of the agent behind route; the zero key while there is none.
func (h *Hub) keyOf(route cardbroker.Route) api.DeviceKey {
	for _, l := range h.View() {
		if l.Agent.Route == route {
			return l.Key
		}
	}
	return api.DeviceKey{}
}

// AgentGone is what everybody is told who waits for an agent that has gone.
func AgentGone(err error) error {
	return cardbroker.Wrapf(err, cardbroker.Unavailable, "the agent is gone")
}

// maxWords is how much of an agent's words is kept, in bytes.
const maxWords = 256

// Clip returns the beginning of s, and nothing that keeps the rest of it in memory.
func Clip(s string) string { return strings.Clone(s[:min(len(s), maxWords)]) }
