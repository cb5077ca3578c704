// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"cmp"
	"sync"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker"
)

// What one user may have and do by default, so that he cannot starve the others.
const (
	defaultConns = 64  // connections at a time
	perSecond    = 100 // requests, in the long run
	burst        = 200 // requests at once

	toldPerSecond = 10 // refusals that somebody is told of, in the long run
	toldBurst     = 64
)

// minKept is the number of entries below which none is forgotten.
const minKept = 1024

// unnamed stands for all callers that the kernel could not name: they count as one user, who is nobody.
var unnamed = cardbroker.UserID{SID: "unnamed"}

// users counts what each user has open and how often he asks. An entry outlives his connections, so that nobody gets a
// fresh allowance by reconnecting, and is forgotten when it says no more than a new one.
type users struct {
	maxConns int
	mu       sync.Mutex // guards what follows; held for a map look-up, or once in a while a walk
	byID     map[cardbroker.UserID]*usage
	forgetAt int // entries
}

type usage struct {
	conns    int
	requests *rate.Limiter
	told     *rate.Limiter
}

func newUsers(maxConns int) *users {
	return &users{maxConns: cmp.Or(maxConns, defaultConns), byID: map[cardbroker.UserID]*usage{}, forgetAt: minKept}
}

// enter counts a connection, or refuses it.
func (u *users) enter(id cardbroker.UserID) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	usage := u.of(id)
	if usage.conns >= u.maxConns {
		return cardbroker.Refusef(cardbroker.RateLimited, cardbroker.RuleConnectionLimit, "more than %d connections of one user", u.maxConns)
	}
	usage.conns++
	return nil
}

// leave counts a connection off.
func (u *users) leave(id cardbroker.UserID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.of(id).conns--
}

// allow counts a request, or refuses it.
func (u *users) allow(id cardbroker.UserID) error {
	u.mu.Lock()
	allowed := u.of(id).requests.Allow()
	u.mu.Unlock()
	if !allowed {
		return cardbroker.Refusef(cardbroker.RateLimited, cardbroker.RuleRate, "more than %d requests a second of one user", perSecond)
	}
	return nil
}

// mayTell counts a refusal and says whether somebody is to be told of it.
func (u *users) mayTell(id cardbroker.UserID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.of(id).told.Allow()
}

// of returns the entry of id; mu is held.
func (u *users) of(id cardbroker.UserID) *usage {
	if u.byID[id] == nil {
		if len(u.byID) >= u.forgetAt {
			u.forget()
		}
		u.byID[id] = &usage{requests: rate.NewLimiter(perSecond, burst), told: rate.NewLimiter(toldPerSecond, toldBurst)}
	}
	return u.byID[id]
}

// forget drops the entries that are like new; mu is held. At the door entries are addresses, of which there is no end.
func (u *users) forget() {
	for id, usage := range u.byID {
		if usage.conns == 0 && usage.requests.Tokens() >= burst && usage.told.Tokens() >= toldBurst {
			delete(u.byID, id)
		}
	}
	u.forgetAt = max(minKept, 2*len(u.byID))
}
