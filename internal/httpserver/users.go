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
	defaultRate  = 100 // requests a second, in the long run; twice as many at once
	spareConns   = 16  // connections more, that are answered why they are not served, so that a page can read it

	toldPerSecond = 10 // refusals that somebody is told of, in the long run
	toldBurst     = 64
)

// What one web page's origin, and all web pages of a user together, may take of that, in percent: one page cannot starve
// the others, nor all of them the user's programs.
const (
	onePage  = 50
	allPages = 75
)

// Of connections one page gets less: a browser opens six, and WebSockets.
const onePageConns = 25

// minKept is the number of entries below which none is forgotten.
const minKept = 1024

// unnamed stands for all callers that the kernel could not name: they count as one user, who is nobody.
var unnamed = cardbroker.UserID{SID: "unnamed"}

// pages stands for all web pages of a user, noOrigin for those that do not say which they are.
const (
	pages    = "pages"
	noOrigin = "no origin"
)

// share is what is counted: all of a user's, or what one web page or all of them take of it.
type share struct {
	user cardbroker.UserID
	of   string // "": all; pages; noOrigin, or an origin
}

// users counts what each user has open and how often he asks. An entry outlives his connections, so that nobody gets a
// fresh allowance by reconnecting, and is forgotten when it says no more than a new one.
type users struct {
	maxConns int
	maxAll   int        // connections of all users but the own; 0: any number
	rate     int        // requests a second
	own      *Share     // nil: there is none
	mu       sync.Mutex // guards what follows, and places; held for a few map look-ups, or once in a while a walk
	all      int        // connections
	byShare  map[share]*usage
	forgetAt int // entries
}

type usage struct {
	conns    int
	requests *rate.Limiter
	told     *rate.Limiter // of a user's whole share alone
}

// place is what one connection takes.
type place struct {
	user cardbroker.UserID
	page string // who asked last on it: noOrigin, or an origin; "": a program
	left bool
}

func newUsers(maxConns, maxAll, perSecond int, own *Share) *users {
	return &users{maxConns: cmp.Or(maxConns, defaultConns), maxAll: maxAll, rate: cmp.Or(perSecond, defaultRate), own: own, byShare: map[share]*usage{}, forgetAt: minKept}
}

// isOwn says whether a user has his own share, which others do not use up.
func (u *users) isOwn(id cardbroker.UserID) bool { return u.own != nil && id == u.own.User }

// most is how many connections a user may have, and how many requests he may make a second.
func (u *users) most(id cardbroker.UserID) (conns, perSecond int) {
	if u.isOwn(id) {
		return u.own.Conns, u.own.PerSecond
	}
	return u.maxConns, u.rate
}

// enter counts a connection. One too many has an error and may have a place all the same: to be told so.
func (u *users) enter(id cardbroker.UserID) (*place, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	usage := u.of(share{user: id})
	most, _ := u.most(id)
	if usage.conns >= most+spareConns {
		return nil, tooMany(most)
	}
	if u.maxAll > 0 && u.all >= u.maxAll && !u.isOwn(id) {
		return nil, cardbroker.Refusef(cardbroker.RateLimited, cardbroker.RuleConnectionLimit, "more than %d connections", u.maxAll)
	}
	if !u.isOwn(id) {
		u.all++
	}
	usage.conns++
	if usage.conns > most {
		return &place{user: id}, tooMany(most)
	}
	return &place{user: id}, nil
}

func tooMany(most int) error {
	return cardbroker.Refusef(cardbroker.RateLimited, cardbroker.RuleConnectionLimit, "more than %d connections of one user", most)
}

// leave counts a connection off, once.
func (u *users) leave(p *place) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if p.left {
		return
	}
	p.left = true
	if !u.isOwn(p.user) {
		u.all--
	}
	u.of(share{user: p.user}).conns--
	u.count(p, -1)
}

// allow counts a request of a web page or, where page is "", of a program, and refuses it if it is one too many.
func (u *users) allow(p *place, page string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.move(p, page); err != nil {
		return err
	}
	_, perSecond := u.most(p.user)
	for _, of := range shares(page) { // the smallest first, which then costs the others nothing
		if !u.of(share{user: p.user, of: of}).requests.Allow() {
			return cardbroker.Refusef(cardbroker.RateLimited, cardbroker.RuleRate, "more than %d requests a second of %s",
				perSecond*percent(of)/100, whose(of))
		}
	}
	return nil
}

// move counts the connection for the page that asks on it now, unless that has too many; mu is held.
func (u *users) move(p *place, page string) error {
	if p.page == page || p.left {
		return nil
	}
	u.count(p, -1)
	p.page = ""
	if page == "" {
		return nil
	}
	conns, _ := u.most(p.user)
	for of, part := range map[string]int{page: onePageConns, pages: allPages} {
		if most := max(1, conns*part/100); u.of(share{user: p.user, of: of}).conns >= most {
			return cardbroker.Refusef(cardbroker.RateLimited, cardbroker.RuleConnectionLimit, "more than %d connections of %s", most, whose(of))
		}
	}
	p.page = page
	u.count(p, 1)
	return nil
}

// count adds n connections to what the place's page has; mu is held.
func (u *users) count(p *place, n int) {
	if p.page != "" {
		u.of(share{user: p.user, of: p.page}).conns += n
		u.of(share{user: p.user, of: pages}).conns += n
	}
}

// shares are what a request counts for.
func shares(page string) []string {
	if page == "" {
		return []string{""}
	}
	return []string{page, pages, ""}
}

// percent is how much of a user's rate a share may take.
func percent(of string) int {
	switch of {
	case "":
		return 100
	case pages:
		return allPages
	}
	return onePage
}

// whose is for people.
func whose(of string) string {
	switch of {
	case "":
		return "one user"
	case pages:
		return "all web pages of one user"
	}
	return "one web page"
}

// mayTell counts a refusal and says whether somebody is to be told of it.
func (u *users) mayTell(id cardbroker.UserID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.of(share{user: id}).told.Allow()
}

// of returns the entry of a share; mu is held.
func (u *users) of(s share) *usage {
	if u.byShare[s] == nil {
		if len(u.byShare) >= u.forgetAt {
			u.forget()
		}
		_, perSecond := u.most(s.user)
		most := perSecond * percent(s.of) / 100
		u.byShare[s] = &usage{
			requests: rate.NewLimiter(rate.Limit(most), 2*most),
			told:     rate.NewLimiter(toldPerSecond, toldBurst),
		}
	}
	return u.byShare[s]
}

// forget drops the entries that are like new; mu is held. At the door entries are addresses, of which there is no end, and
// a hostile page may have any number of origins.
func (u *users) forget() {
	for s, usage := range u.byShare {
		if usage.conns == 0 && usage.requests.Tokens() >= float64(usage.requests.Burst()) && usage.told.Tokens() >= toldBurst {
			delete(u.byShare, s)
		}
	}
	u.forgetAt = max(minKept, 2*len(u.byShare))
}
