// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	"github.com/cardbroker/cardbroker"
)

// View is what the Registry knew at one moment. It never changes, so any number of goroutines may read it without
// waiting for a writer or a disk. For the same reason nobody changes the slices that it returns.
type View struct {
	epoch   uint64
	agents  []cardbroker.Agent // ascending by key
	byPort  map[cardbroker.Port]int
	byRoute map[cardbroker.Route]int
	guarded []cardbroker.Port // ascending: of agents that are gone, and in quarantine; with Config.Hold all
	sharing Sharing
}

// Sharing says whether agents of more than one user are on the host, in whatever State.
type Sharing struct {
	Shared bool
	Turns  uint64 // how often that has changed since the broker's start
}

// newView takes over the agents and ports, in any order.
func newView(epoch uint64, agents []cardbroker.Agent, guarded []cardbroker.Port) *View {
	slices.SortFunc(agents, func(a, b cardbroker.Agent) int { return compareKeys(a.Key, b.Key) })
	slices.Sort(guarded)
	v := &View{
		epoch:   epoch,
		agents:  agents,
		byPort:  make(map[cardbroker.Port]int, len(agents)),
		byRoute: make(map[cardbroker.Route]int, len(agents)),
		guarded: guarded,
	}
	v.sharing.Shared = len(agents) > 0 && agents[0].Key.User != agents[len(agents)-1].Key.User
	for i, a := range agents {
		v.byPort[a.Port] = i
		if a.Route != "" {
			v.byRoute[a.Route] = i
		}
	}
	return v
}

// Epoch returns the number of this run of the Registry. It rises at each start.
func (v *View) Epoch() uint64 { return v.epoch }

// Sharing returns whether the host is shared.
func (v *View) Sharing() Sharing { return v.sharing }

// Agents returns all agents, in ascending order of user and session.
func (v *View) Agents() []cardbroker.Agent { return v.agents }

// ByUser returns the agents of one user, in ascending order of session.
func (v *View) ByUser(user cardbroker.UserID) []cardbroker.Agent {
	first := sort.Search(len(v.agents), func(i int) bool { return compareUsers(v.agents[i].Key.User, user) >= 0 })
	rest := v.agents[first:]
	return rest[:sort.Search(len(rest), func(i int) bool { return rest[i].Key.User != user })]
}

// ByKey returns the agent of one session, if it has one.
func (v *View) ByKey(key cardbroker.AgentKey) (cardbroker.Agent, bool) {
	i, found := slices.BinarySearchFunc(v.agents, key, func(a cardbroker.Agent, key cardbroker.AgentKey) int {
		return compareKeys(a.Key, key)
	})
	return v.at(i, found)
}

// ByPort returns the agent that the port is promised to, if there is one. A port in quarantine has none.
func (v *View) ByPort(port cardbroker.Port) (cardbroker.Agent, bool) {
	i, found := v.byPort[port]
	return v.at(i, found)
}

// ByRoute returns the agent that got the route at its last registration. It may be STALE.
func (v *View) ByRoute(route cardbroker.Route) (cardbroker.Agent, bool) {
	i, found := v.byRoute[route]
	return v.at(i, found)
}

func (v *View) at(i int, found bool) (cardbroker.Agent, bool) {
	if !found {
		return cardbroker.Agent{}, false
	}
	return v.agents[i], true
}

func compareKeys(a, b cardbroker.AgentKey) int {
	if c := compareUsers(a.User, b.User); c != 0 {
		return c
	}
	return strings.Compare(string(a.Session), string(b.Session))
}

func compareUsers(a, b cardbroker.UserID) int {
	if c := cmp.Compare(a.UID, b.UID); c != 0 {
		return c
	}
	return strings.Compare(a.SID, b.SID)
}
