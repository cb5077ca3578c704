// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/election"
)

// TestVotersGossip has the seven oldest gossip, but for the leader, and nobody else.
func TestVotersGossip(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		agents := h.starts(10)
		leader, _ := h.elected()
		h.settle(1)
		voters := slices.DeleteFunc(slices.Clone(agents[:7]), func(a *agent) bool { return a == leader })
		for i, a := range agents {
			rank, voter := a.Rank()
			if i >= 7 || a == leader {
				if a.Self().Gossip.IsValid() || len(a.Lives()) > 0 || voter && a != leader {
					t.Errorf("%s gossips: %v, %v", a.self.Name, a.Self(), a.Lives())
				}
				continue
			}
			stranger := slices.ContainsFunc(voters, func(b *agent) bool { return !a.Lives()[b.self.Name] })
			if !a.Self().Gossip.IsValid() || stranger || rank != slices.Index(voters, a) {
				t.Errorf("%s: %v knows %v and has rank %d, want all %d and rank %d", a.self.Name, a.Self(), a.Lives(), rank,
					len(voters), slices.Index(voters, a))
			}
		}
	})
}

// TestDismissed has a voter appointed no more: it says so, stops, and the others do not wait for it.
func TestDismissed(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a, b := h.add("a", 1), h.add("b", 2)
		h.run(a)
		h.run(b)
		appoint(a, b)
		<-a.Changed()
		<-b.Changed()
		appoint(a, b)
		h.pass(time.Second)
		if len(a.Lives()) != 2 || len(b.Lives()) != 2 {
			t.Fatalf("a knows %v, b %v, want both", a.Lives(), b.Lives())
		}
		b.Appoint([]api.Voter{b.Self()})
		a.Appoint([]api.Voter{b.Self()})
		<-a.Changed()
		if a.Self().Gossip.IsValid() || len(a.Lives()) > 0 {
			t.Errorf("a gossips: %v, %v", a.Self(), a.Lives())
		}
		h.pass(time.Second)
		if rank, ok := b.Rank(); rank != 0 || !ok || len(b.Lives()) != 1 {
			t.Errorf("b has rank %d, %v and knows %v, want 0 and itself", rank, ok, b.Lives())
		}
	})
}

// appoint tells all of them of all of them.
func appoint(agents ...*agent) {
	var voters []api.Voter
	for _, a := range agents {
		voters = append(voters, a.Self())
	}
	for _, a := range agents {
		a.Appoint(voters)
	}
}

// TestGossipThatCannotStart has no descriptors left: the voter goes without, and it, too, takes office.
func TestGossipThatCannotStart(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.net.full = true
		h.starts(3)
		leader, _ := h.elected()
		h.settle(1)
		leader.kill()
		if _, took := h.elected(); took > 30*time.Millisecond {
			t.Errorf("took %v, want 30ms at most", took)
		}
		h.settle(2)
	})
}

// pack writes a message of memberlist in MessagePack: its type, and a map of names to strings, numbers and bytes.
func pack(kind byte, fields map[string]any) []byte {
	b := []byte{kind, 0x80 | byte(len(fields))}
	for name, value := range fields {
		b = append(append(b, 0xa0|byte(len(name))), name...)
		switch v := value.(type) {
		case string:
			b = append(append(b, 0xd9, byte(len(v))), v...)
		case []byte:
			b = append(append(b, 0xc4, byte(len(v))), v...)
		case int:
			b = binary.BigEndian.AppendUint32(append(b, 0xce), uint32(v))
		}
	}
	return b
}

// alive is the message that says who lives.
func alive(v api.Voter, incarnation int) []byte {
	return pack(4, map[string]any{
		"Incarnation": incarnation, "Node": v.Name, "Addr": v.Gossip.Addr().AsSlice(), "Port": int(v.Gossip.Port()),
		"Meta": election.Meta(v.Born), "Vsn": []byte{1, 5, 2, 0, 0, 0},
	})
}

// forge sends each voter, ten times a second, that all others have died, that foreigners live, and that voters are younger or
// elsewhere than they are.
func (h *host) forge(ctx context.Context, agents []*agent) {
	forger, _ := h.net.listener("forger")()
	for incarnation := 1; ctx.Err() == nil; incarnation++ {
		for _, to := range agents {
			self := to.Self().Gossip
			for _, about := range agents {
				v := about.Self()
				dead := pack(5, map[string]any{"Incarnation": 1<<20 + incarnation, "Node": v.Name, "From": "forger"})
				v.Born = 1
				younger := alive(v, 1<<21+incarnation)
				v.Gossip = addr("127.0.0.1:1")
				elsewhere := alive(v, 1<<22+incarnation)
				foreign := alive(api.Voter{Name: fmt.Sprint("foreign", incarnation), Gossip: addr("10.0.0.1:1")}, incarnation)
				for _, m := range [][]byte{dead, younger, elsewhere, foreign} {
					forger.WriteTo(m, self.String())
				}
			}
		}
		h.pass(100 * time.Millisecond)
	}
}

// TestForgedGossip has a flood of lies: there is one leader, and after its death another, a little later at most; and nobody
// is known but who was appointed.
func TestForgedGossip(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		agents := h.starts(9)
		ctx, end := context.WithCancel(t.Context())
		defer end()
		go h.forge(ctx, agents)
		leader, _ := h.elected()
		for i := range 4 {
			h.pass(time.Second)
			h.settle(i + 1)
			for _, a := range agents {
				for name := range a.Lives() {
					if !slices.ContainsFunc(agents, func(a *agent) bool { return a.self.Name == name }) {
						t.Errorf("%s knows %s", a.self.Name, name)
					}
				}
			}
			leader.kill()
			var took time.Duration
			if leader, took = h.elected(); took > 450*time.Millisecond {
				t.Errorf("took %v, want 450ms at most", took)
			}
		}
		h.settle(5)
		end()
	})
}

// TestForgedVoters has whoever leads appoint whom he likes: new ones each time. What is kept is bounded.
func TestForgedVoters(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		h.run(a)
		a.Appoint([]api.Voter{a.Self()})
		<-a.Changed()
		var others []*agent
		for i := range 60 {
			b := h.add(fmt.Sprint("b", i), 2)
			h.run(b)
			b.Appoint([]api.Voter{b.self})
			<-b.Changed()
			appoint(a, b)
			others = append(others, b)
			h.pass(300 * time.Millisecond)
			if n := len(a.Lives()); n > 4*election.MaxVoters+1 {
				t.Fatalf("a knows %d, want %d at most", n, 4*election.MaxVoters)
			}
		}
		if len(others) != 60 || !a.Lives()["b59"] {
			t.Errorf("a knows %v, want the last one, too", a.Lives())
		}
	})
}

// TestStateOfOthers has a voter answer a join with a state that has a foreigner in it.
func TestStateOfOthers(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		h.run(a)
		forger, _ := h.net.listener("forger")()
		ip, port, _ := forger.FinalAdvertiseAddr("", 0)
		b := api.Voter{Name: "b", Gossip: netip.MustParseAddrPort(fmt.Sprintf("%v:%d", ip, port))}
		a.Appoint([]api.Voter{a.self, b})
		c := <-forger.StreamCh()
		go io.Copy(io.Discard, c)
		io.WriteString(c, stateHead("\xc2", "\x02"))
		for _, name := range []string{"b", "foreign"} {
			c.Write(pack(0, map[string]any{
				"Name": name, "Addr": []byte(ip.To4()), "Port": port, "Meta": election.Meta(0), "Incarnation": 1, "State": 0,
				"Vsn": []byte{1, 5, 2, 0, 0, 0},
			})[1:])
		}
		c.Close()
		h.pass(100 * time.Millisecond)
		if lives := a.Lives(); len(lives) != 2 || !lives["b"] {
			t.Errorf("a knows %v, want itself and b", lives)
		}
	})
}

// TestMerge refuses a state as a whole where it cannot be that of a voter.
func TestMerge(t *testing.T) {
	near := &memberlist.Node{Name: "a", Addr: net.IPv4(127, 0, 0, 1), Port: 1}
	for name, tt := range map[string]struct {
		nodes []*memberlist.Node
		want  cardbroker.Reason
	}{
		"of seven":        {slices.Repeat([]*memberlist.Node{near}, 7), ""},
		"with one abroad": {[]*memberlist.Node{near, {Name: "b", Addr: net.IPv4(10, 0, 0, 1), Port: 1}}, cardbroker.Forbidden},
		"with no address": {[]*memberlist.Node{near, {Name: "b", Port: 1}}, cardbroker.Forbidden},
		"of too many":     {slices.Repeat([]*memberlist.Node{near}, 29), cardbroker.TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if err := election.New(election.Config{}).Merge(tt.nodes); cardbroker.ReasonOf(err) != tt.want {
				t.Errorf("a state %s: %v, want %q", name, err, tt.want)
			}
		})
	}
}
