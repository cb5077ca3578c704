// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/election"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func everybody(string) bool { return true }

// voters draws a list as a leader may send it: names twice, borns that many have, some that do not gossip.
func voters(most int) *rapid.Generator[[]api.Voter] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) api.Voter {
		v := api.Voter{Name: rapid.StringMatching(`[a-d]{1,2}`).Draw(t, "name"), Born: rapid.Uint64Range(0, 5).Draw(t, "born")}
		if rapid.Float64().Draw(t, "gossips") < 0.8 {
			v.Gossip = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), rapid.Uint16Min(1).Draw(t, "port"))
		}
		return v
	}), 0, most)
}

func isOlder(a, b api.Voter) bool { return a.Born < b.Born || a.Born == b.Born && a.Name < b.Name }

// TestOrder holds what makes the order one: it is that of age, it is total, and the dead leave no gap.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := election.AppointFrom(voters(12).Draw(t, "voters"))
		dead := map[string]bool{}
		for _, v := range list {
			dead[v.Name] = rapid.Bool().Draw(t, "dead")
		}
		lives := func(name string) bool { return !dead[name] }
		next := 0
		for _, v := range list {
			rank, ok := election.RankOf(v.Name, list, lives)
			if !ok || rank != next {
				t.Fatalf("rank of %s = %d, %v, want %d, true, in %v without %v", v.Name, rank, ok, next, list, dead)
			}
			if v.Gossip.IsValid() && lives(v.Name) {
				next++
			}
		}
		if _, ok := election.RankOf("e", list, everybody); ok {
			t.Fatal("who was not appointed is a voter")
		}
	})
}

// TestDeadVoterLeavesRank has one voter die: all behind it move up by one, all before it stay.
func TestDeadVoterLeavesRank(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := election.AppointFrom(voters(12).Draw(t, "voters"))
		if len(list) == 0 {
			return
		}
		gone := rapid.SampledFrom(list).Draw(t, "gone")
		for _, v := range list {
			before, _ := election.RankOf(v.Name, list, everybody)
			after, _ := election.RankOf(v.Name, list, func(name string) bool { return name != gone.Name })
			moves := 0
			if gone.Gossip.IsValid() && isOlder(gone, v) {
				moves = 1
			}
			if after != before-moves {
				t.Fatalf("rank of %v = %d when %v has died, want %d", v, after, gone, before-moves)
			}
		}
	})
}

// TestAppoint has leaders send what they like.
func TestAppoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := voters(40).Draw(t, "voters")
		list := election.AppointFrom(sent)
		if len(list) > election.MaxVoters || !slices.IsSortedFunc(list, func(a, b api.Voter) int {
			if isOlder(a, b) {
				return -1
			}
			return 1
		}) {
			t.Fatalf("appointed %v, want seven at most, the oldest first", list)
		}
		names := map[string]bool{}
		for _, v := range list {
			if names[v.Name] || !slices.Contains(sent, v) {
				t.Fatalf("appointed %v: twice, or not sent", v)
			}
			names[v.Name] = true
		}
		for _, v := range sent {
			if !names[v.Name] && (len(list) < election.MaxVoters || isOlder(v, list[len(list)-1])) {
				t.Fatalf("appointed %v without %v", list, v)
			}
		}
	})
}

// TestOrderOfInput has the same list come in another order, and some of it twice.
func TestOrderOfInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := slices.CompactFunc(slices.SortedFunc(slices.Values(voters(12).Draw(t, "voters")), func(a, b api.Voter) int {
			return strings.Compare(a.Name, b.Name)
		}), func(a, b api.Voter) bool { return a.Name == b.Name })
		other := append(slices.Clone(sent), sent[:len(sent)/2]...)
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		random.Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
		if a, b := election.AppointFrom(sent), election.AppointFrom(other); !reflect.DeepEqual(a, b) {
			t.Fatalf("appointed %v, and %v in another order", a, b)
		}
	})
}

func TestNobodyIsAppointed(t *testing.T) {
	for name, v := range map[string]api.Voter{
		"no name":        {},
		"a space":        {Name: "a b"},
		"a line":         {Name: "a\n"},
		"not ASCII":      {Name: "ä"},
		"broken":         {Name: "a\xff"},
		"a long name":    {Name: strings.Repeat("a", 65)},
		"a control code": {Name: "a\x7f"},
	} {
		t.Run(name, func(t *testing.T) {
			if list := election.AppointFrom([]api.Voter{v}); len(list) != 0 {
				t.Errorf("appointed %v", list)
			}
		})
	}
}

func TestGossipIsOnLoopback(t *testing.T) {
	for a, want := range map[string]bool{
		"127.0.0.1:1": true, "127.0.0.1:0": false, "127.0.0.2:1": false, "10.0.0.1:1": false, "0.0.0.0:1": false,
		"[::1]:1": false, "[::ffff:127.0.0.1]:1": false, "[fe80::1%eth0]:1": false,
	} {
		list := election.AppointFrom([]api.Voter{{Name: "a", Gossip: addr(a)}})
		if len(list) != 1 || list[0].Gossip.IsValid() != want {
			t.Errorf("appointed %v at %s, gossips: want %v", list, a, want)
		}
	}
}

func FuzzBorn(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(make([]byte, 8))
	f.Add(make([]byte, 9))
	f.Fuzz(func(t *testing.T, meta []byte) {
		born, err := election.BornOf(meta)
		if (err == nil) != (len(meta) == 8) {
			t.Errorf("BornOf(%x) = %v", meta, err)
		}
		if err == nil && fmt.Sprintf("%x", election.Meta(born)) != fmt.Sprintf("%x", meta) {
			t.Errorf("Meta(BornOf(%x)) = %x", meta, election.Meta(born))
		}
	})
}
