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
)

// unnamed stands for all callers that the kernel could not name: they count as one user, who is nobody.
var unnamed = cardbroker.UserID{SID: "unnamed"}

// users counts what each user has open and how often he asks. An entry stays for good, so that nobody gets a fresh
// allowance by reconnecting: a host has few users.
type users struct {
	maxConns int
	mu       sync.Mutex // guards byID; held for a map look-up only
	byID     map[cardbroker.UserID]*usage
}

type usage struct {
	conns   int
	limiter *rate.Limiter
}

func newUsers(maxConns int) *users {
	return &users{maxConns: cmp.Or(maxConns, defaultConns), byID: map[cardbroker.UserID]*usage{}}
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
	limiter := u.of(id).limiter
	u.mu.Unlock()
	if !limiter.Allow() {
		return cardbroker.Refusef(cardbroker.RateLimited, cardbroker.RuleRate, "more than %d requests a second of one user", perSecond)
	}
	return nil
}

// of returns the entry of id; mu is held.
func (u *users) of(id cardbroker.UserID) *usage {
	if u.byID[id] == nil {
		u.byID[id] = &usage{limiter: rate.NewLimiter(perSecond, burst)}
	}
	return u.byID[id]
}
