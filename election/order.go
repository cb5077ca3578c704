// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/cardbroker/cardbroker/api"
)

const (
	maxVoters = 7  // gossip of more costs more than it helps
	maxName   = 64 // bytes; a name is random, and shorter
)

// byAge orders candidates, the oldest first: who has been there for long is likely to stay. The order is total where names
// are unique.
func byAge(a, b api.Voter) int {
	return cmp.Or(cmp.Compare(a.Born, b.Born), strings.Compare(a.Name, b.Name))
}

// appoint returns what of a leader's list can be voters: names that are printable and there once, the oldest of them first,
// and no more than seven. Where a voter says that it gossips elsewhere than on loopback, it does not gossip.
func appoint(voters []api.Voter) []api.Voter {
	list := make([]api.Voter, 0, maxVoters)
	for _, v := range slices.SortedFunc(slices.Values(voters), byAge) {
		if !isName(v.Name) || slices.ContainsFunc(list, named(v.Name)) {
			continue
		}
		if !isLoopback(v.Gossip) {
			v.Gossip = netip.AddrPort{}
		}
		if list = append(list, v); len(list) == maxVoters {
			break
		}
	}
	return list
}

// rank returns how many of the voters that live try before the one of that name, and whether it is a voter at all. Who does not
// gossip is not waited for: a leader, and who has just been appointed.
func rank(name string, voters []api.Voter, lives func(name string) bool) (int, bool) {
	i := slices.IndexFunc(voters, named(name))
	if i < 0 {
		return 0, false
	}
	before := 0
	for _, v := range voters {
		if v.Gossip.IsValid() && lives(v.Name) && byAge(v, voters[i]) < 0 {
			before++
		}
	}
	return before, true
}

func named(name string) func(api.Voter) bool {
	return func(v api.Voter) bool { return v.Name == name }
}

// isName says whether a name is 1 to 64 printable characters of ASCII without a space.
func isName(s string) bool {
	return len(s) > 0 && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// isLoopback says whether voters can gossip there: they bind 127.0.0.1, and nothing else.
func isLoopback(a netip.AddrPort) bool {
	return a.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 1}) && a.Port() != 0
}
