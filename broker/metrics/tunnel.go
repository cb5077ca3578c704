// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"net"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/relay"
)

// sampleInterval is the time between two looks at a tunnel's round trip; a back end's pings come as often.
const sampleInterval = 20 * time.Second

// Leg is a tunnel's leg to its back end.
type Leg interface {
	relay.Leg
	NetConn() net.Conn
}

// Tunnel is the leg of a tunnel to its back end, and counts what passes. One goroutine reads it.
type Tunnel struct {
	Leg
	table   *table
	account *account
	tenant  *tenant
	sampled time.Time // of the reading goroutine
}

// Open begins to count a tunnel between a back end's leg and the agent behind route. It ends with [Tunnel.Ended].
func (m *Metrics) Open(open api.TunnelOpen, route cardbroker.Route, leg Leg) *Tunnel {
	account := m.tunnels.open(holder{route, open.Tenant})
	account.tenant.open.Add(1)
	if ticket, err := cardbroker.ParseTicket(open.Ticket); err == nil && ticket.Resume {
		account.tenant.resumed.Add(1)
	} else {
		account.tenant.opened.Add(1)
	}
	return &Tunnel{Leg: leg, table: m.tunnels, account: account, tenant: account.tenant, sampled: time.Now()}
}

// TunnelRefused counts a tunnel that a tenant asked for and did not get. err may be in an agent's words.
func (m *Metrics) TunnelRefused(tenant cardbroker.Tenant, err error) {
	reason := string(cardbroker.ReasonOf(err))
	if !m.tunnels.reasons[cardbroker.Reason(reason)] {
		reason = other
	}
	m.tunnels.refused.with(m.tunnels.tenant(tenant).name, reason).Add(1)
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
	t.tenant.open.Add(-1)
	t.table.ended(t.account)
}

// Used adds what the agent behind route has measured for a tenant. It counts if that tenant has a tunnel to that agent, and if it
// is no more than can be.
func (m *Metrics) Used(route cardbroker.Route, u api.Usage) {
	tenant := m.tunnels.claim(route, u)
	if tenant == nil {
		m.tunnels.ignored.with().Add(1)
		return
	}
	tenant.commands.Add(int64(u.Commands))
	tenant.indeterminate.Add(int64(u.Indeterminate))
	for rule, n := range u.Refused {
		if rule != cardbroker.RuleFirewall {
			rule = other
		}
		m.tunnels.forbidden.with(tenant.name, string(rule)).Add(int64(n))
	}
	tenant.queue.add(u.Queue)
	tenant.card.add(u.Card)
}
