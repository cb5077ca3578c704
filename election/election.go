// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package election decides which of the agents of a host without a service holds office. It knows nothing of what the
// office is: who wins runs a [Term].
//
// Safety is the operating system's: office is taken by an exclusive bind (Config.Take), and that is all that decides who
// leads. When to try is decided by who watches: the end of its connection to the leader is the leader's death. The order
// in which agents try comes from a small set of voters that gossip on loopback (memberlist). Gossip is a hint: with
// forged gossip, or none, somebody takes office a little later, and never two.
//
// Two goroutines own what an Elector is: one takes office and serves the Term, the other gossips. Both publish immutable
// values; who seeks a leader, in goroutines of the callers', reads these and asks the first of the two to take office.
package election

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
)

// Term is what the winner runs. Its ctx ends when it is to leave office; it returns soon after, with everything released that
// Take took. An error ends the term, too.
type Term func(ctx context.Context) error

// Config is what an Elector is made of.
type Config struct {
	// Take takes office, or returns Conflict: somebody has it. After an error nothing is held. It is called by one goroutine at a
	// time, and not while a Term of its runs.
	Take func(ctx context.Context) (Term, error)
	// Health asks whoever holds office whether he works, as any client does. It is asked during our own Term only.
	Health func(ctx context.Context) error
	// Abandon ends the process: the Term hangs, and did not end when it was told to.
	Abandon func(why error)
	Self    api.Voter // Name and Born; Gossip is the Elector's to fill
	Log     *slog.Logger
}

// Elector is one agent's part in the election. Make it with [New].
type Elector struct {
	cfg    Config
	listen func() (memberlist.NodeAwareTransport, error)   // opens where we gossip
	pause  func(ctx context.Context, d time.Duration) bool // run.Pause

	asks    chan chan error // to take office, from who seeks; it is read while there is no Term of ours
	wake    chan struct{}   // signal: who is appointed, who lives, or our office is another
	changed chan struct{}   // signal: Self is another

	seen      atomic.Bool                 // somebody has held office; it never falls
	office    atomic.Pointer[office]      // written by hold
	appointed atomic.Pointer[[]api.Voter] // the leader's last word, by Appoint
	circle    atomic.Pointer[circle]      // written by gossip
}

// New returns an Elector that has not started.
func New(cfg Config) *Elector {
	e := &Elector{cfg: cfg, asks: make(chan chan error), wake: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	e.cfg.Self.Gossip = netip.AddrPort{}
	e.listen, e.pause = e.loopback, run.Pause
	e.office.Store(&office{})
	e.appointed.Store(&[]api.Voter{})
	e.circle.Store(&circle{})
	return e
}

// Run owns the terms and the gossip until ctx ends; then it leaves office. It is called once.
func (e *Elector) Run(ctx context.Context) error {
	g := run.New(ctx)
	g.Go("office", e.hold)
	g.Go("gossip", e.gossip)
	return g.Wait()
}

// Appoint takes the leader's hint who the voters are: if we are among them, we gossip with them, else with nobody. It does
// not block. More voters than there can be, and what is no voter, are left out.
func (e *Elector) Appoint(voters []api.Voter) {
	list := appoint(voters)
	e.appointed.Store(&list)
	loop.Signal(e.wake)
}

// Self returns who we are; Gossip is zero while we are no voter. Who leads is none: he has nobody to wait for, and others do
// not count him when he is gone.
func (e *Elector) Self() api.Voter {
	self := e.cfg.Self
	if !e.Leads() {
		self.Gossip = e.circle.Load().self
	}
	return self
}

// Changed delivers when Self is another. It has one receiver.
func (e *Elector) Changed() <-chan struct{} { return e.changed }

// Leads says whether our Term runs.
func (e *Elector) Leads() bool { return e.office.Load().leave != nil }
