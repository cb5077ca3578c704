// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"sync/atomic"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/gate"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/hostsession"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
)

// presence applies to the agent what happens to its session, and is the only one that watches it. docs/sessions.md has a
// table of what each event does, and the tests hold the two together.
type presence struct {
	agent   *Agent
	uses    *gate.Gate         // open while the user is connected: offers, leases, event streams
	prompts *gate.Gate         // open while he also sees his screen
	leave   context.CancelFunc // ends the agent; set by Run
	endPINs []func(why string) // end the PIN sessions
	stands  atomic.Pointer[api.Presence]
	changed chan struct{} // capacity 1: stands is new
}

// What is said to those whom the state of the session keeps from something.
const (
	sessionLocked = "the session is locked"
	sessionAway   = "the session is disconnected"
	sessionShown  = "the session's screen is shown to somebody else"
	sessionLost   = "what happens to the session is not known any more"
)

func newPresence(a *Agent) *presence {
	p := &presence{agent: a, uses: gate.New(), prompts: gate.New(), leave: func() {}, changed: make(chan struct{}, 1)}
	p.stands.Store(&api.Presence{Kind: string(a.cfg.OS.Kind), Display: hostsession.OwnDisplay()})
	return p
}

// run watches the session until it or ctx ends.
func (p *presence) run(ctx context.Context) error {
	delay := run.NewBackoff(firstDelay, enrolDelay)
	for {
		err := p.agent.cfg.OS.Watch(ctx, p.apply)
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case cardbroker.ReasonOf(err) == cardbroker.Unsupported:
			p.agent.cfg.Log.Info("nobody tells of locks and disconnects here", "session", p.agent.cfg.Session, "err", err)
			return nil
		}
		p.agent.cfg.Log.Warn("the session cannot be watched; trying again", "session", p.agent.cfg.Session, "err", err)
		p.lost()
		if delay.Wait(ctx) != nil {
			return nil
		}
	}
}

// apply does what an event of the session entails. It is called by the goroutine of run alone, and waits for loops only.
func (p *presence) apply(e hostsession.Event) {
	p.agent.cfg.Log.Info("session", "session", p.agent.cfg.Session, "status", e)
	stands := *p.stands.Load()
	switch e {
	case hostsession.Watched:
		stands.Known = true
	case hostsession.LockAsked:
		p.endPIN(sessionLocked)
	case hostsession.Shadowed:
		p.endPIN(sessionShown)
	case hostsession.Locked:
		stands.Locked = true
		p.prompts.Close(cardbroker.Errorf(cardbroker.PINCanceled, sessionLocked))
		p.endPIN(sessionLocked)
		p.agent.record(cardbroker.Event{Name: cardbroker.EventSessionLocked})
	case hostsession.Unlocked:
		stands.Locked = false
		p.agent.record(cardbroker.Event{Name: cardbroker.EventSessionUnlocked})
	case hostsession.Away:
		stands.Away = true
		p.disconnect()
		p.agent.record(cardbroker.Event{Name: cardbroker.EventSessionAway})
	case hostsession.Back:
		stands.Away = false
		p.reconnect()
		p.agent.record(cardbroker.Event{Name: cardbroker.EventSessionBack})
	case hostsession.Ended:
		p.endPIN("the session has ended")
		p.agent.leases.Close(cardbroker.Errorf(cardbroker.Forbidden, "the session has ended"))
		p.leave()
	}
	if !stands.Locked && !stands.Away {
		p.prompts.Open()
	}
	p.stands.Store(&stands)
	loop.Signal(p.changed)
}

// disconnect ends what the user has let others do, and lets nobody do it until he is back.
func (p *presence) disconnect() {
	gone := cardbroker.Errorf(cardbroker.Forbidden, sessionAway)
	p.uses.Close(gone)
	p.prompts.Close(cardbroker.Errorf(cardbroker.PINCanceled, sessionAway))
	p.endPIN(sessionAway)
	p.agent.desk.close(gone)
	p.agent.leases.Close(gone)
	p.agent.tokens.Away(gone)
}

// reconnect begins anew with the readers: those of another endpoint come without a word to who has asked before.
func (p *presence) reconnect() {
	p.agent.reach.Renew()
	p.agent.tokens.Away(nil)
	p.agent.leases.Open()
	p.agent.desk.open()
	p.uses.Open()
}

// attends says whether the user is at his screen, as far as that is known: else nobody's PIN is taken, and it is Forbidden.
func (p *presence) attends() error {
	if why := p.uses.Closed(); why != nil {
		return why
	}
	if p.prompts.Closed() != nil {
		return cardbroker.Errorf(cardbroker.Forbidden, sessionLocked)
	}
	return nil
}

// lost has PIN sessions end that nobody would end any more. All else stays as it was when the session was seen last.
func (p *presence) lost() {
	p.endPIN(sessionLost)
	stands := *p.stands.Load()
	stands.Known = false
	p.stands.Store(&stands)
	loop.Signal(p.changed)
}

func (p *presence) endPIN(why string) {
	for _, end := range p.endPINs {
		end(why)
	}
}
