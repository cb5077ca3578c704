// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker"
)

// payer is in whose account an event is: each has room and a rate of its own, so that nobody pushes out the events of others.
// What a user's programs can cause at will does not count against what the broker sees of him.
type payer struct {
	user  cardbroker.UserID
	named bool // user is one; else all of this kind share an account
	kind  kind

	tenant cardbroker.Tenant // whose tunnels they are, where no user is named: a back end can come back all the time
}

type kind uint8

const (
	seen    kind = iota // by the broker
	said                // by an agent
	refused             // callers and back ends that were turned away
)

// String says for people which events an account is for.
func (k kind) String() string {
	return [...]string{"seen by the broker", "told by agents", "refusals"}[k]
}

// limit is what an account may have.
type limit struct {
	waiting   int // for the disk, at a time
	perSecond rate.Limit
	burst     int
}

func (p payer) limit() limit {
	switch {
	case !p.named && p.kind == seen && p.tenant == "": // the broker's own
		return limit{waiting: 4096, perSecond: rate.Inf}
	case p.tenant != "": // a back end may have 4,096 tunnels, which end and come back at once
		return limit{waiting: 512, perSecond: 10, burst: 2 * 4096}
	case !p.named: // back ends, and callers that the kernel cannot name
		return limit{waiting: 512, perSecond: 10, burst: 1000}
	case p.kind == refused:
		return limit{waiting: 128, perSecond: 1, burst: 100}
	}
	return limit{waiting: 512, perSecond: 5, burst: 1000}
}

// account is what one payer has in the queue, and what he has lost.
type account struct {
	limit
	rate    *rate.Limiter
	waiting int
	lost    uint64 // since that was recorded
}

func newAccount(p payer) *account {
	l := p.limit()
	return &account{limit: l, rate: rate.NewLimiter(l.perSecond, l.burst)}
}

// admit says whether one more event may wait.
func (a *account) admit(now time.Time) bool {
	return a.waiting < a.limit.waiting && a.rate.AllowN(now, 1)
}

// idle says whether the account says no more than a new one.
func (a *account) idle(now time.Time) bool {
	return a.waiting == 0 && a.lost == 0 && (a.perSecond == rate.Inf || a.rate.TokensAt(now) >= float64(a.burst))
}

// newEntry makes an event ready for the desk.
func newEntry(of *cardbroker.AgentKey, e cardbroker.Event, by string) entry {
	entry := entry{record: Record{Time: time.Now().UTC(), Event: clean(e), By: by}}
	switch {
	case e.Name == cardbroker.EventCallerRefused, e.Name == cardbroker.EventTenantRefused, e.Name == cardbroker.EventTokenRefused, e.Name == cardbroker.EventAPDURefused:
		entry.payer.kind = refused
	case by == byAgent:
		entry.payer.kind = said
	}
	if of == nil {
		switch e.Name {
		case cardbroker.EventTunnelOpened, cardbroker.EventTunnelResumed, cardbroker.EventTunnelEnded:
			entry.payer.tenant = e.Tenant
		}
		return entry
	}
	entry.user, entry.payer.user, entry.payer.named = of.User, of.User, true
	entry.record.name(of.User)
	entry.record.Session = cardbroker.SessionID(printable(string(of.Session), maxText))
	return entry
}

// name puts the user into a record.
func (r *Record) name(user cardbroker.UserID) {
	if r.SID = user.SID; r.SID == "" {
		r.UID = &user.UID
	}
}

// mayBeSaid says whether an agent may say this: no agent speaks for the broker, and callers that it refused it may tell.
func mayBeSaid(name cardbroker.EventName) bool {
	return name.ByAgents() || name == cardbroker.EventCallerRefused
}
