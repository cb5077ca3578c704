// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/loop"
)

const (
	farewell   = 300 * time.Millisecond // for the others to hear that we leave
	maxMembers = 4 * maxVoters          // that gossip may know of, those included who are voters no longer
)

// circle is what we know by gossip. It is immutable; the zero circle is that of who does not gossip.
type circle struct {
	self  netip.AddrPort
	lives map[string]bool // by name, ourselves included
}

// rank returns how many voters try before us; false: we are no voter.
func (e *Elector) rank() (int, bool) {
	lives := e.circle.Load().lives
	return rank(e.cfg.Self.Name, *e.appointed.Load(), func(name string) bool { return lives[name] })
}

// gossip gossips while we are appointed and do not lead.
func (e *Elector) gossip(ctx context.Context) error {
	var list *memberlist.Memberlist
	var known []api.Voter // whom we have joined
	for {
		select {
		case <-ctx.Done():
			e.depart(list)
			return nil
		case <-e.wake:
		}
		voters := *e.appointed.Load()
		wanted := slices.ContainsFunc(voters, named(e.cfg.Self.Name)) && !e.Leads()
		if list != nil && (!wanted || list.NumMembers() > maxMembers) {
			e.depart(list)
			list, known = nil, nil
		}
		if list == nil && wanted {
			list = e.start()
		}
		if list != nil && !slices.Equal(known, voters) {
			known = voters
			e.join(ctx, list, voters)
		}
		e.publish(list)
	}
}

// start begins to gossip; nil: that is not possible, and we go without.
func (e *Elector) start() *memberlist.Memberlist {
	transport, err := e.listen()
	if err != nil {
		e.cfg.Log.Warn("cannot gossip", "err", err)
		return nil
	}
	conf := memberlist.DefaultLANConfig()
	conf.Name = e.cfg.Self.Name
	conf.Transport = newGate(transport)
	conf.IndirectChecks = 0                     // on one host nobody sees who we do not
	conf.TCPTimeout = time.Second               // on one host
	conf.DeadNodeReclaimTime = 10 * time.Second // a voter may gossip at another port than before
	conf.EnableCompression = false              // a packet is short; and what is compressed may be endless
	conf.HandoffQueueDepth = 64                 // packets: more are a flood
	conf.LogOutput = phrases{e.cfg.Log}
	d := &delegate{e: e}
	conf.Delegate, conf.Events, conf.Alive, conf.Merge = d, d, d, d
	list, err := memberlist.Create(conf)
	if err != nil {
		conf.Transport.Shutdown()
		e.cfg.Log.Warn("cannot gossip", "err", err)
		return nil
	}
	return list
}

// depart ends the gossip, if there is one. The others hear of it, so that nobody waits for us.
func (e *Elector) depart(list *memberlist.Memberlist) {
	if list == nil {
		return
	}
	list.Leave(farewell) // who has nobody to tell has left, too
	list.Shutdown()
	e.publish(nil)
}

// join makes us known to the voters that we do not know. Each is asked once for an appointment: who cannot be reached now, or
// does not know us yet, will ask us when he hears of his own.
func (e *Elector) join(ctx context.Context, list *memberlist.Memberlist, voters []api.Voter) {
	lives := livesIn(list)
	for _, v := range voters {
		if ctx.Err() == nil && !lives[v.Name] && v.Gossip.IsValid() {
			list.Join([]string{v.Gossip.String()}) // its failures are in the log of gossip
		}
	}
}

// livesIn returns who lives as far as the gossip knows, by name, and ourselves.
func livesIn(list *memberlist.Memberlist) map[string]bool {
	lives := map[string]bool{}
	for _, m := range list.Members() {
		lives[m.Name] = true
	}
	return lives
}

// publish lets the others see what we know now.
func (e *Elector) publish(list *memberlist.Memberlist) {
	c := &circle{}
	if list != nil {
		local := list.LocalNode()
		addr, _ := netip.AddrFromSlice(local.Addr)
		c.self = netip.AddrPortFrom(addr.Unmap(), local.Port)
		c.lives = livesIn(list)
	}
	old := e.circle.Load()
	if c.self == old.self && maps.Equal(c.lives, old.lives) {
		return
	}
	e.circle.Store(c)
	if c.self != old.self {
		loop.Signal(e.changed)
	}
}

// delegate is what memberlist calls, under its own lock: each method looks at what is immutable, or gives one signal.
type delegate struct{ e *Elector }

// NodeMeta is what others see of us: when we were born, in 8 bytes.
func (d *delegate) NodeMeta(int) []byte { return binary.BigEndian.AppendUint64(nil, d.e.cfg.Self.Born) }

// bornOf returns what NodeMeta has written.
func bornOf(meta []byte) (uint64, error) {
	if len(meta) != 8 {
		return 0, cardbroker.Errorf(cardbroker.Invalid, "%d bytes are no time of birth", len(meta))
	}
	return binary.BigEndian.Uint64(meta), nil
}

// NotifyAlive refuses who is not exactly as the leader has said: by name, birth and address.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	born, err := bornOf(n.Meta)
	if err != nil {
		return err
	}
	if n.Name == d.e.cfg.Self.Name {
		return nil // our own address is refused by memberlist if it is another
	}
	addr, _ := netip.AddrFromSlice(n.Addr)
	said := api.Voter{Name: n.Name, Born: born, Gossip: netip.AddrPortFrom(addr.Unmap(), n.Port)}
	if !said.Gossip.IsValid() || !slices.Contains(*d.e.appointed.Load(), said) {
		return cardbroker.Errorf(cardbroker.Forbidden, "not appointed")
	}
	return nil
}

// NotifyMerge refuses what no voter has: more nodes than fit, or nodes elsewhere than on this host. Which names we take is
// decided one by one: those of a voter that has heard of another list may be out of date.
func (d *delegate) NotifyMerge(nodes []*memberlist.Node) error {
	if len(nodes) > maxMembers {
		return cardbroker.Errorf(cardbroker.TooLarge, "more nodes than voters")
	}
	for _, n := range nodes {
		addr, _ := netip.AddrFromSlice(n.Addr)
		if !isLoopback(netip.AddrPortFrom(addr.Unmap(), n.Port)) {
			return cardbroker.Errorf(cardbroker.Forbidden, "not on loopback")
		}
	}
	return nil
}

func (d *delegate) NotifyJoin(*memberlist.Node)       { loop.Signal(d.e.wake) }
func (d *delegate) NotifyLeave(*memberlist.Node)      { loop.Signal(d.e.wake) }
func (d *delegate) NotifyUpdate(*memberlist.Node)     {}
func (d *delegate) NotifyMsg([]byte)                  {}
func (d *delegate) GetBroadcasts(int, int) [][]byte   { return nil }
func (d *delegate) LocalState(bool) []byte            { return nil }
func (d *delegate) MergeRemoteState(_ []byte, _ bool) {}
