// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/relay"
)

const (
	sampleInterval = 20 * time.Second // between two looks at a tunnel's round trip; a back end's pings come as often
	lateUsage      = time.Minute      // an agent may still report on a tunnel that has ended
	maxEnded       = 4096             // tunnels that an agent may still report on
)

// An agent's word is taken for as many commands as a card could answer: ten times what the fastest do.
const (
	maxCommandRate  = 20_000 // a second
	maxCommandBurst = 1_000
	longest         = 10 * time.Minute // that a command takes on average; its sandbox is killed before that
)

// Leg is a tunnel's leg to its back end.
type Leg interface {
	relay.Leg
	NetConn() net.Conn
}

// Tunnel is the leg of a tunnel to its back end, and counts what passes. One goroutine reads it.
type Tunnel struct {
	Leg
	table   *table
	tenant  *tenant
	route   cardbroker.Route // of its agent
	began   time.Time
	sampled time.Time // of the reading goroutine
	ended   time.Time // zero: not yet; guarded by the table
	claimed uint64    // commands that its agent has told of; guarded by the table
}

// Open begins to count a tunnel between a back end's leg and the agent behind route. It ends with [Tunnel.Ended].
func (m *Metrics) Open(open api.TunnelOpen, route cardbroker.Route, leg Leg) *Tunnel {
	now := time.Now()
	tenant := m.tunnels.tenant(open.Tenant)
	t := &Tunnel{Leg: leg, table: m.tunnels, tenant: tenant, route: route, began: now, sampled: now}
	m.tunnels.add(open.ID, t)
	tenant.open.Inc()
	if ticket, err := cardbroker.ParseTicket(open.Ticket); err == nil && ticket.Resume {
		tenant.resumed.Inc()
	} else {
		tenant.opened.Inc()
	}
	return t
}

// TunnelRefused counts a tunnel that a tenant asked for and did not get. err may be in an agent's words.
func (m *Metrics) TunnelRefused(tenant cardbroker.Tenant, err error) {
	reason := string(cardbroker.ReasonOf(err))
	if !m.tunnels.reasons[cardbroker.Reason(reason)] {
		reason = other
	}
	m.tunnels.vec.refused.WithLabelValues(m.tunnels.tenant(tenant).name, reason).Inc()
}

// Next implements relay.Leg: it counts what comes from the back end.
func (t *Tunnel) Next() ([]byte, error) {
	message, err := t.Leg.Next()
	if err != nil {
		return message, err
	}
	t.tenant.from.count(message)
	if now := time.Now(); now.Sub(t.sampled) >= sampleInterval {
		t.sampled = now
		t.tenant.observe(t.NetConn())
	}
	return message, nil
}

// Write implements relay.Leg: it counts what goes to the back end.
func (t *Tunnel) Write(message []byte) error {
	if err := t.Leg.Write(message); err != nil {
		return err
	}
	t.tenant.to.count(message)
	return nil
}

// Shutdown implements relay.Leg. The tunnel ends: its round trip is looked at while there still is a connection.
func (t *Tunnel) Shutdown(why error) {
	t.tenant.observe(t.NetConn())
	t.Leg.Shutdown(why)
}

// Ended ends the count. The agent may still report on it for a while. It is called once.
func (t *Tunnel) Ended() {
	t.tenant.open.Dec()
	t.table.end(t)
}

// Used adds what the agent behind route has measured in a tunnel. Only its own tunnels count, and no more than can be.
func (m *Metrics) Used(route cardbroker.Route, u api.Usage) {
	tenant := m.tunnels.claim(route, u)
	if tenant == nil {
		m.tunnels.vec.ignored.Inc()
		return
	}
	tenant.commands.Add(float64(u.Commands))
	tenant.indeterminate.Add(float64(u.Indeterminate))
	for rule, n := range u.Refused {
		if rule != cardbroker.RuleFirewall {
			rule = other
		}
		m.tunnels.vec.forbidden.WithLabelValues(tenant.name, string(rule)).Add(float64(n))
	}
	tenant.queue.add(u.Queue)
	tenant.card.add(u.Card)
}

// table knows the tunnels and the tenants.
type table struct {
	reasons map[cardbroker.Reason]bool
	vec     vectors

	mu      sync.Mutex // guards the following; held for a few map look-ups, or a walk over the tunnels
	tunnels map[string]*Tunnel
	late    int // of them, that have ended
	tenants map[cardbroker.Tenant]*tenant
}

func newTable() *table {
	t := &table{
		reasons: make(map[cardbroker.Reason]bool),
		tunnels: make(map[string]*Tunnel),
		tenants: make(map[cardbroker.Tenant]*tenant),
		vec:     newVectors(),
	}
	for _, row := range api.Reasons() {
		t.reasons[row.Reason] = true
	}
	return t
}

// tenant returns the counters of a tenant that has shown who it is.
func (t *table) tenant(name cardbroker.Tenant) *tenant {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.tenants[name]; known != nil {
		return known
	}
	if len(t.tenants) >= maxTenants {
		name = others
		if known := t.tenants[name]; known != nil {
			return known
		}
	}
	t.tenants[name] = t.vec.newTenant(string(name))
	return t.tenants[name]
}

// all returns the tenants.
func (t *table) all() []*tenant {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.tenants))
}

// add enters a tunnel. Those that ended long ago, or too many, are forgotten.
func (t *table) add(id string, tunnel *Tunnel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, old := range t.tunnels {
		if !old.ended.IsZero() && (t.late >= maxEnded || time.Since(old.ended) > lateUsage) {
			delete(t.tunnels, id)
			t.late--
		}
	}
	t.tunnels[id] = tunnel
}

func (t *table) end(tunnel *Tunnel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tunnel.ended = time.Now()
	t.late++
}

// claim returns the tenant for which a report counts; nil: it does not.
func (t *table) claim(route cardbroker.Route, u api.Usage) *tenant {
	t.mu.Lock()
	defer t.mu.Unlock()
	tunnel := t.tunnels[u.Tunnel]
	if tunnel == nil || tunnel.route != route || !tunnel.ended.IsZero() && time.Since(tunnel.ended) > lateUsage {
		return nil
	}
	n := uint64(u.Commands) + uint64(u.Indeterminate)
	for _, refused := range u.Refused {
		n += uint64(refused)
	}
	if tunnel.claimed+n > maxCommandBurst+uint64(time.Since(tunnel.began).Seconds()*maxCommandRate) {
		return nil
	}
	for _, times := range []api.Times{u.Queue, u.Card} {
		if count(times) != uint64(u.Commands) || times.Micros > uint64(u.Commands)*uint64(longest.Microseconds()) {
			return nil
		}
	}
	tunnel.claimed += n
	return tunnel.tenant
}

func count(t api.Times) (n uint64) {
	for _, c := range t.Counts {
		n += uint64(c)
	}
	return n
}
