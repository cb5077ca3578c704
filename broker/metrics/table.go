// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

const (
	maxTenants = 1000        // that are counted apart; what others do is counted together
	lateReport = time.Minute // after a tenant's last tunnel to it has ended an agent may still report
)

// others stands for the tenants that are too many. It is the name of none.
const others = "(others)"

// An agent's word is taken for as many commands as a card could answer: ten times what the fastest do.
const (
	maxCommandRate  = 20_000 // a second
	maxCommandBurst = 1_000
	longest         = 10 * time.Minute // that a command takes on average; its sandbox is killed before that
)

// table knows the tenants, and which agents they have tunnels to.
type table struct {
	reasons map[cardbroker.Reason]bool
	families

	mu       sync.Mutex // guards the following, with what is in the accounts; held for a few map look-ups, or a walk over the accounts
	accounts map[holder]*account
	tenants  map[cardbroker.Tenant]*tenant
}

// holder is an agent that holds cards for a tenant.
type holder struct {
	route  cardbroker.Route
	tenant cardbroker.Tenant
}

// account is what an agent may report for a tenant.
type account struct {
	tenant  *tenant
	began   time.Time
	open    int       // tunnels
	ended   time.Time // the last of them
	claimed uint64    // commands
}

func (a *account) over() bool { return a.open == 0 && time.Since(a.ended) > lateReport }

func newTable() *table {
	t := &table{
		reasons:  make(map[cardbroker.Reason]bool),
		families: newFamilies(),
		accounts: make(map[holder]*account),
		tenants:  make(map[cardbroker.Tenant]*tenant),
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
	t.tenants[name] = t.newTenant(string(name))
	return t.tenants[name]
}

// all returns the tenants.
func (t *table) all() []*tenant {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.tenants))
}

// open returns the account for one tunnel more. Those that are over are forgotten.
func (t *table) open(h holder) *account {
	tenant := t.tenant(h.tenant)
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.accounts, func(_ holder, a *account) bool { return a.over() })
	a := t.accounts[h]
	if a == nil {
		a = &account{tenant: tenant, began: time.Now()}
		t.accounts[h] = a
	}
	a.open++
	return a
}

// ended takes a tunnel from its account.
func (t *table) ended(a *account) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.open--
	a.ended = time.Now()
}

// claim returns the tenant for which a report counts; nil: it does not.
func (t *table) claim(route cardbroker.Route, u api.Usage) *tenant {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.accounts[holder{route, u.Tenant}]
	if a == nil || a.over() {
		return nil
	}
	n := uint64(u.Commands) + uint64(u.Indeterminate)
	for _, refused := range u.Refused {
		n += uint64(refused)
	}
	if a.claimed+n > maxCommandBurst+uint64(time.Since(a.began).Seconds()*maxCommandRate) {
		return nil
	}
	for _, times := range []api.Times{u.Queue, u.Card} {
		if count(times) != uint64(u.Commands) || times.Micros > uint64(u.Commands)*uint64(longest.Microseconds()) {
			return nil
		}
	}
	a.claimed += n
	return a.tenant
}

func count(t api.Times) (n uint64) {
	for _, c := range t.Counts {
		n += uint64(c)
	}
	return n
}
