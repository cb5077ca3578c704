// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
)

// Backoff while there is no broker, or while it says no.
const (
	firstDelay    = 50 * time.Millisecond
	enrolDelay    = 30 * time.Second // at most, while there is nothing to lose
	reattachDelay = 2 * time.Second  // at most: a broker that is back waits 30 s for the agents that it knew

	shortLink = 100 * time.Millisecond // is cut by who does not want us
)

// bindTries is how many ports are asked for until one can be bound.
const bindTries = 16

// enrol keeps the agent registered until ctx ends: it reserves a port, binds it, registers and holds the link, and does
// again what broke. It ends by itself only if another agent of this session lives, or an administrator says so.
func (a *Agent) enrol(ctx context.Context) error {
	delay := run.NewBackoff(firstDelay, enrolDelay)
	a.waits = a.home.Waiting(a.cfg.Session)
	defer a.waits.End()
	for {
		err := a.reserved(ctx, delay)
		if ctx.Err() != nil {
			return nil
		}
		if cardbroker.ReasonOf(err) == cardbroker.Conflict || errors.Is(err, errKicked) {
			return fmt.Errorf("cannot serve session %s: %w", a.cfg.Session, err)
		}
		a.waits.Say(0, err)
		a.cfg.Log.Warn("not registered; trying again", "reason", cardbroker.ReasonOf(err), "err", err)
		if delay.Wait(ctx) != nil {
			return nil
		}
	}
}

// reserved reserves and binds a port and serves on it for as long as the broker grants it.
func (a *Agent) reserved(ctx context.Context, delay *run.Backoff) error {
	claim := api.Claim{Session: a.cfg.Session, Claim: string(cardbroker.RandomSecret().Reveal())}
	e, err := a.bind(ctx, claim)
	if err != nil {
		return err
	}
	e.delay = delay
	a.resumed.Do(a.restoreLeases) // before programs are served, and only now: until then another agent of the session may hold them
	group := run.New(ctx)
	group.Go("http", func(ctx context.Context) error { return a.serve(ctx, e) })
	group.Go("link", func(ctx context.Context) error { return a.registered(ctx, e) })
	err = group.Wait()
	if ctx.Err() != nil || errors.Is(err, errKicked) { // the agent ends: nobody is to wait for this port
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := a.broker.Release(release, claim); err != nil {
			a.cfg.Log.Info("the port was not released; it will be in a while", "err", err)
		}
	}
	return err
}

// bind reserves ports until one can be bound on both loopback addresses, or the broker has bound one.
func (a *Agent) bind(ctx context.Context, claim api.Claim) (enrolment, error) {
	e := enrolment{claim: claim, forwards: httpserver.NewForwards()}
	for range bindTries {
		reservation, err := a.broker.Reserve(ctx, e.claim)
		if err != nil {
			return e, err
		}
		e.port, e.listen = reservation.Port, reservation.Listen
		if len(e.listen) > 0 {
			return e, nil
		}
		e.listeners, err = httpserver.ListenLoopback(ctx, reservation.Port)
		if err == nil {
			return e, nil
		}
		if cardbroker.ReasonOf(err) != cardbroker.Conflict {
			return e, err
		}
		a.cfg.Log.Warn("somebody has this port; trying another", "port", reservation.Port, "err", err)
		e.claim.Avoid = append(e.claim.Avoid, reservation.Port)
	}
	return e, cardbroker.Errorf(cardbroker.PortsExhausted, "the last %d ports reserved were all taken by other programs", bindTries)
}

// enrolment is a port that is bound, and the claim to it.
type enrolment struct {
	claim     api.Claim
	port      cardbroker.Port
	listeners []net.Listener       // none where the broker listens
	listen    []string             // where it does
	forwards  *httpserver.Forwards // what it forwards, from there and from ports for all sessions
	delay     *run.Backoff
}

// registered registers, holds the link, and re-attaches with the same claim when it breaks: a broker that restarts keeps
// the port. It returns when the port is lost: when a service does not know the claim any more, or does not take the listeners for the
// user's. An agent that stands for election keeps what it has bound, whatever was elected: a port is the kernel's to give, then.
func (a *Agent) registered(ctx context.Context, e enrolment) error {
	delay, first, said := run.NewBackoff(firstDelay, reattachDelay), true, ""
	a.waits.Say(e.port, nil)
	for {
		began := time.Now()
		registered, err := a.holdLink(ctx, e)
		if registered {
			e.delay.Reset()
			delay.Reset()
			first, said = false, ""
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errKicked) {
			return err
		}
		from := a.otherEnd()
		switch cardbroker.ReasonOf(err) {
		case cardbroker.Unauthenticated, cardbroker.CallerRefused: // the port is lost: reserve anew
			if a.cfg.Election == nil || len(e.listeners) == 0 || !from.Elected && !errors.Is(err, errNoLink) {
				return err
			}
		case cardbroker.Conflict: // another agent of this session, unless it is our own last link, or our port that somebody leaves
			if first && from.Elected && !from.Foreign && cardbroker.RuleOf(err) == "" {
				return err
			}
		}
		switch {
		case registered:
			a.cfg.Log.Info("the link is lost; re-attaching", "port", e.port, "err", err)
		case err != nil && err.Error() != said: // once, however often we try
			said = err.Error()
			a.waits.Say(e.port, err)
			a.cfg.Log.Info("no link to a registry; trying again", "port", e.port, "err", err)
		}
		if registered && a.cfg.Election != nil && time.Since(began) > shortLink { // its dials have a pace of their own
			continue
		}
		if delay.Wait(ctx) != nil {
			return nil
		}
	}
}

// note says where this agent is.
func (a *Agent) note(e enrolment) home.Note {
	n := home.Note{PID: os.Getpid(), Session: a.cfg.Session, Port: e.port, Broker: a.cfg.Socket, Elects: a.cfg.Elects, Listen: e.listen}
	for _, listener := range e.listeners {
		n.Listen = append(n.Listen, listener.Addr().String())
	}
	return n
}
