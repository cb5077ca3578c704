// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package elected

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/internal/run"
)

const (
	maxVoters = 7  // more gossip costs more and orders no better
	maxName   = 64 // bytes

	settle = 200 * time.Millisecond // from a change to the next appointment: agents that have lost a leader come all at once
)

// checkVoter refuses what others could not use: a voter is told of to all of them.
func checkVoter(v api.Voter) error {
	if v.Name == "" || len(v.Name) > maxName {
		return cardbroker.Errorf(cardbroker.Invalid, "a candidate's name has %d bytes, want 1 to %d", len(v.Name), maxName)
	}
	if v.Gossip.IsValid() && (!v.Gossip.Addr().IsLoopback() || v.Gossip.Port() == 0) {
		return cardbroker.Errorf(cardbroker.Invalid, "a candidate gossips at %s, want a port of a loopback address", v.Gossip)
	}
	return nil
}

// electorate is who is appointed, and how each of them is told. It is one goroutine's.
type electorate struct {
	leader *Leader
	voters []api.Voter
	told   map[*coordinator.Link]chan api.Voters // of capacity 1: the latest, which nobody waits for
}

// appoint keeps the oldest of the agents that stand appointed, and tells those whom a change concerns, until ctx ends. No voter
// waits for another.
func (l *Leader) appoint(ctx context.Context) error {
	changed, stop, err := l.core.Hub.Watch(ctx)
	if err != nil {
		return err
	}
	defer stop()
	e := electorate{leader: l, told: map[*coordinator.Link]chan api.Voters{}}
	for {
		select {
		case <-changed:
			if !run.Pause(ctx, settle) {
				return nil
			}
			e.update()
		case <-ctx.Done():
			return nil
		}
	}
}

// update appoints anew.
func (e *electorate) update() {
	standing := map[*coordinator.Link]api.Voter{}
	e.leader.core.Hub.Must(func(links *coordinator.Links) error { // fails only when all ends
		for l := range links.All() {
			if l.Voter != nil {
				standing[l] = *l.Voter
			}
		}
		return nil
	})
	appointed := oldest(standing)
	voters := make([]api.Voter, len(appointed))
	for i, l := range appointed {
		voters[i] = e.leader.confirmed(standing[l], l.Agent.Key.User)
	}
	another := !slices.Equal(voters, e.voters)
	e.voters = voters
	for l, mailbox := range e.told {
		if slices.Contains(appointed, l) {
			continue
		}
		if _, alive := standing[l]; alive {
			put(mailbox, voters) // so that it stops
		}
		close(mailbox)
		delete(e.told, l)
	}
	for _, l := range appointed {
		mailbox, known := e.told[l]
		if !known {
			mailbox = e.tell(l)
		}
		if another || !known {
			put(mailbox, voters)
		}
	}
}

// confirmed returns the voter without where it gossips, unless the kernel says that its user listens there over TCP, and receives over UDP: the
// others will connect and send to that, and none is to have them do so to whom he likes. Without, nobody waits for that voter.
func (l *Leader) confirmed(v api.Voter, user cardbroker.UserID) api.Voter {
	if !v.Gossip.IsValid() {
		return v
	}
	port := cardbroker.Port(v.Gossip.Port())
	if l.kernel.CheckListener(port, user, false) != nil || l.kernel.CheckReceiver(port, user) != nil {
		v.Gossip = netip.AddrPort{}
	}
	return v
}

// tell starts what tells one agent, until its mailbox is closed.
func (e *electorate) tell(l *coordinator.Link) chan api.Voters {
	mailbox := make(chan api.Voters, 1)
	e.told[l] = mailbox
	e.leader.core.Go("tell a voter", func(ctx context.Context) error {
		for {
			select {
			case voters, open := <-mailbox:
				if !open {
					return nil
				}
				l.Send(api.FromBroker{Voters: &voters}) // a failure ends the link
			case <-ctx.Done():
				return nil
			}
		}
	})
	return mailbox
}

// put replaces what a mailbox has. It has one sender.
func put(mailbox chan api.Voters, voters []api.Voter) {
	select {
	case <-mailbox:
	default:
	}
	mailbox <- api.Voters{Voters: voters}
}

// oldest returns the links of those to appoint, the oldest first.
func oldest(standing map[*coordinator.Link]api.Voter) []*coordinator.Link {
	links := make([]*coordinator.Link, 0, len(standing))
	for l := range standing {
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b *coordinator.Link) int {
		return cmp.Or(cmp.Compare(standing[a].Born, standing[b].Born), cmp.Compare(standing[a].Name, standing[b].Name),
			cmp.Compare(a.Agent.Route, b.Agent.Route))
	})
	return links[:min(len(links), maxVoters)]
}
