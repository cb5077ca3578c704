// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package election decides which of the agents of a host without a service holds office. It knows nothing of what the
// office is: who wins runs a [Term].
//
// Safety is the operating system's: office is taken by an exclusive bind (Config.Take), and that is all that decides who
// leads. When to try is decided by who watches: the end of its connection to the leader is the leader's death. The order
// in which agents try comes from a small set of voters that gossip on loopback (memberlist). Gossip is a hint: with
// forged gossip, or none, somebody takes office a little later, and never two.
package election

import (
	"context"
	"log/slog"
	"time"

	"github.com/cardbroker/cardbroker/api"
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
type Elector struct{ cfg Config }

// New returns an Elector that has not started.
func New(cfg Config) *Elector { return &Elector{cfg: cfg} }

// Run owns the terms and the gossip until ctx ends; then it leaves office.
func (e *Elector) Run(ctx context.Context) error { panic("not built") }

// Seek calls dial until it returns nil, or an error other than Unavailable, which it returns: somebody is there, and not for us.
// Between tries, once it is our turn and not before the given time, it takes office itself; zero: at any time. dial connects to
// whoever holds office, us included. It returns when ctx ends, at the latest.
func (e *Elector) Seek(ctx context.Context, notBefore time.Time, dial func(ctx context.Context) error) error {
	panic("not built")
}

// Appoint takes the leader's hint who the voters are: if we are among them, we gossip with them, else with nobody. It does
// not block.
func (e *Elector) Appoint(voters []api.Voter) { panic("not built") }

// Self returns who we are; Gossip is zero while we are no voter.
func (e *Elector) Self() api.Voter { panic("not built") }

// Changed delivers when Self is another. It has one receiver.
func (e *Elector) Changed() <-chan struct{} { panic("not built") }

// Leads says whether our Term runs.
func (e *Elector) Leads() bool { panic("not built") }

// Resign ends our Term, if one runs, and waits for its end, or for ctx. why is for the log.
func (e *Elector) Resign(ctx context.Context, why string) error { panic("not built") }
