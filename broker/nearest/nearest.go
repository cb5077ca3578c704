// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package nearest chooses, among the agents of one user, the one of the session that a caller is in. It asks the kernel and
// the system, never the caller, and where they do not tell it says so: nobody guesses.
package nearest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/hostsession"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// Candidate is an agent, and the display of its session in its own words; empty: it has said none.
type Candidate struct {
	cardbroker.Agent
	Display string
}

// Pick chooses among the agents of one user. The session only routes among them; where it does not tell, nobody guesses.
// Errors: NoAgent, SessionAmbiguous with the list.
func (c *Chooser) Pick(agents []Candidate, caller peer.Caller) (cardbroker.Agent, error) {
	switch len(agents) {
	case 0:
		return cardbroker.Agent{}, cardbroker.Refusef(cardbroker.NoAgent, cardbroker.RuleNoAgent, "no agent runs in your session: log on again, or run cardbroker agent run")
	case 1:
		return agents[0].Agent, nil
	}
	if i, ok := c.nearest(agents, caller); ok {
		return agents[i].Agent, nil
	}
	names := make([]string, len(agents))
	for i, agent := range agents {
		names[i] = string(agent.Key.Session)
	}
	return cardbroker.Agent{}, cardbroker.Refusef(cardbroker.SessionAmbiguous, cardbroker.RuleSessionAmbiguous,
		"you have several sessions here: %s", strings.Join(names, ", "))
}

// nearest says which of several agents of the caller's user is in his session: by the cgroup of his socket, else by the
// processes that hold it, which takes a walk through /proc. All of these have to agree.
func (c *Chooser) nearest(agents []Candidate, caller peer.Caller) (int, bool) {
	session, known := hostsession.OfCgroup(caller.Cgroup)
	places := placesOf(agents)
	if known {
		if i := named(agents, session); i >= 0 && !shared(places, i, session) {
			return i, true
		}
		if i, ok := hostsession.Nearest(hostsession.Place{Session: session}, places); ok {
			return i, true
		}
		if !slices.ContainsFunc(places, func(p hostsession.Place) bool { return p.Session == "" || p.Session == session }) {
			return 0, false // he is in none of theirs
		}
	}
	found := -1
	for _, holder := range c.holders(caller) {
		place, ok := holder.Place(caller.User)
		if !ok {
			continue // it has ended, or let go of the socket
		}
		if known {
			place.Session = session
		}
		i, ok := choose(agents, places, place)
		if !ok || found >= 0 && i != found {
			return 0, false
		}
		found = i
	}
	if found < 0 && known { // nobody is to be seen who holds it
		return choose(agents, places, hostsession.Place{Session: session})
	}
	return found, found >= 0
}

// choose says which agent is in the session of a place. Where several are, in a session that goes by the name of one, and neither processes nor
// displays tell, it is that one, unless its display is another.
func choose(agents []Candidate, places []hostsession.Place, of hostsession.Place) (int, bool) {
	own := named(agents, of.Session)
	if own >= 0 && !shared(places, own, of.Session) {
		return own, true
	}
	if i, ok := hostsession.Nearest(of, places); ok || own < 0 {
		return i, ok
	}
	display := places[own].Display
	return own, of.Display == "" || display == "" || of.Display == display
}

// shared says whether another agent than the one that goes by a session's name stands in that session as well.
func shared(places []hostsession.Place, own int, session cardbroker.SessionID) bool {
	for i, p := range places {
		if i != own && p.Session == session {
			return true
		}
	}
	return false
}

// named returns the agent that goes by the name of the session, or -1.
func named(agents []Candidate, session cardbroker.SessionID) int {
	return slices.IndexFunc(agents, func(a Candidate) bool { return session != "" && a.Key.Session == session })
}

// placesOf returns where agents stand, by what the system says of their processes and, of their displays, they themselves.
func placesOf(agents []Candidate) []hostsession.Place {
	places := make([]hostsession.Place, len(agents))
	for i, agent := range agents {
		place, ok := hostsession.PlaceOf(agent.PID, agent.Key.User)
		if !ok || agent.State == cardbroker.Stale {
			place = hostsession.Unknown()
		}
		if agent.Display != "" {
			place.Display = agent.Display
		}
		places[i] = place
	}
	return places
}

// Chooser looks for the holders of sockets. Those who ask at the same time share one walk through /proc, by one goroutine,
// however many they are; what was found is kept for as long as the socket is held.
type Chooser struct {
	loop  *loop.Loop[*walk]
	known map[uint64][]hostsession.Holder // by the socket's cookie; owned by the loop
}

// walk is one batch of questions.
type walk []*question

type question struct {
	caller  peer.Caller
	holders []hostsession.Holder // set by Commit
}

// Bounds of a walk and of what is kept.
const (
	walkTimeout = 2 * time.Second
	maxKnown    = 1024
)

// New returns a chooser that answers once [Chooser.Run] runs.
func New() *Chooser {
	return &Chooser{loop: loop.New[*walk](), known: map[uint64][]hostsession.Holder{}}
}

// Run walks until ctx ends.
func (c *Chooser) Run(ctx context.Context) error { return c.loop.Run(ctx, c) }

// holders returns who holds the client's socket, among the processes of the caller's user; none if that cannot be found out.
func (c *Chooser) holders(caller peer.Caller) []hostsession.Holder {
	ctx, cancel := context.WithTimeout(context.Background(), walkTimeout)
	defer cancel()
	q := &question{caller: caller}
	if err := c.loop.Do(ctx, func(batch *walk) error { *batch = append(*batch, q); return nil }); err != nil {
		return nil // holders may still be written
	}
	return q.holders
}

// Begin implements [loop.Owner].
func (c *Chooser) Begin() *walk { return &walk{} }

// Commit implements [loop.Owner]: it answers from what is known, and walks once for the rest.
func (c *Chooser) Commit(_ context.Context, batch *walk) error {
	wanted := map[uint32]cardbroker.UserID{}
	for _, q := range *batch {
		if !c.answer(q) {
			wanted[q.caller.Inode] = q.caller.User
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	found := hostsession.Holders(wanted)
	if len(c.known)+len(found) > maxKnown {
		clear(c.known)
	}
	for _, q := range *batch {
		if holders, ok := found[q.caller.Inode]; ok {
			c.known[q.caller.Cookie] = holders
			q.holders = holders
		}
	}
	return nil
}

// answer answers from what is known, if that is still so.
func (c *Chooser) answer(q *question) bool {
	holders, ok := c.known[q.caller.Cookie]
	if ok && !slices.ContainsFunc(holders, func(h hostsession.Holder) bool { return !h.Holds() }) {
		q.holders = holders
		return true
	}
	delete(c.known, q.caller.Cookie)
	return false
}

// Deadline: nothing is ever due.
func (c *Chooser) Deadline() time.Time { return time.Time{} }

// Tick is never called.
func (c *Chooser) Tick(*walk, time.Time) {}
