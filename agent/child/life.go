// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"errors"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Life says when a process is to start and to end. It is part of the state of its supervisor's loop, whose methods alone use
// it, and which calls [Life.Commit] after each change and [Life.Answer] once its view is published.
type Life struct {
	Name  string        // "the sandbox", for messages
	Idle  time.Duration // the process is stopped this long after its last use
	Start func()        // has a goroutine do [Attend], and tell Up and Ended of it
	Gone  func()        // what the process has said counts no more

	Wanted bool // there is to be a process though nobody uses it

	phase   phase
	process *Process     // in ready, stopping and failing
	waiting []chan error // who wants the process to be ready; capacity 1
	answers []answer     // for those who have waited; given once the view says the same
	idle    time.Time    // when the process is stopped; zero: it is in use
	restart time.Time    // not before, where nobody asks
	retry   time.Time    // not before, when somebody asks
	early   int          // processes in a row that died young
	why     error        // the last one did
	renews  bool         // the process is to be replaced
	retires bool         // likewise, but what it is used for is done before
	forbids error        // why nobody may use it; nil: they may
	status  Status
}

// Status is how a supervisor's processes have fared, for doctor and metrics.
type Status struct {
	PID      int    // of the running process; 0: none is up
	Starts   uint64 // of a process
	Kills    uint64 // by us, because it hung or broke the protocol
	LastExit string // why the last process ended, see [Exit]; empty: none did yet
}

// phase is where the process is in its life.
type phase int

const (
	stopped  phase = iota // there is none
	starting              // it has not said that it is up
	ready
	stopping // told to end
	failing  // its end was noticed; Attend will say why it came
)

// answer is what one who has waited is told.
type answer struct {
	to  chan error
	err error
}

// A process that dies younger than youngAge is no good. The first few are replaced at once, then only after a pause that
// doubles up to maxPause; who asks need not wait for more than askedPause of it: what was missing may be there by now.
const (
	youngAge   = 10 * time.Second
	freeStarts = 3
	firstPause = 250 * time.Millisecond
	maxPause   = 30 * time.Second
	askedPause = time.Second
)

// Status returns the counters.
func (l *Life) Status() Status {
	st := l.status
	if l.process != nil {
		st.PID = l.process.PID()
	}
	return st
}

// Deadline returns when Commit has something to do by itself; zero: never.
func (l *Life) Deadline() time.Time {
	switch {
	case l.phase == ready:
		return l.idle
	case l.phase == stopped && l.wanted():
		return l.restart
	}
	return time.Time{}
}

// Commit starts the process if somebody wants it, and stops it if nobody has used it for long.
func (l *Life) Commit() {
	now := time.Now()
	switch {
	case l.phase == stopped && l.wanted() && !now.Before(l.restart):
		l.phase = starting
		l.status.Starts++
		l.Start()
	case l.phase != ready:
	case l.forbids != nil, l.renews, l.retires && l.process.Uses == 0:
		l.halt()
	case l.wanted() || l.process.Uses > 0:
		l.idle = time.Time{}
	case l.idle.IsZero():
		l.idle = now.Add(l.Idle)
	case !now.Before(l.idle):
		l.halt()
	}
}

// Answer tells those who have waited.
func (l *Life) Answer() {
	for _, a := range l.answers {
		a.to <- a.err
	}
	l.answers = nil
}

// halt tells the process to end.
func (l *Life) halt() {
	l.phase, l.renews, l.retires = stopping, false, false
	l.Gone()
	l.process.Stop()
}

func (l *Life) wanted() bool { return l.forbids == nil && (l.Wanted || len(l.waiting) > 0) }

// Renew has the process replaced, if there is one that may have reached the cards already.
func (l *Life) Renew() { l.renews = l.phase == starting || l.phase == ready }

// Retire is Renew when the last use is over. Who wants a process meanwhile waits for the next one.
func (l *Life) Retire() { l.retires = l.phase == starting || l.phase == ready }

// Forbid has every use answered with why from now on, and ends the process; nil allows it again.
func (l *Life) Forbid(why error) {
	l.forbids = why
	if why != nil {
		l.release(why)
	}
}

// WhenReady returns nil if the process is up: this is a use of it. Else it returns a channel that says when to ask again, or
// that it is no use.
func (l *Life) WhenReady() (<-chan error, error) {
	if l.forbids != nil {
		return nil, l.forbids
	}
	l.idle = time.Time{} // this is a use
	if l.phase == ready && !l.retires {
		return nil, nil
	}
	if now := time.Now(); l.phase == stopped && now.Before(l.restart) {
		if now.Before(l.retry) {
			return nil, l.why
		}
		l.restart = now
	}
	again := make(chan error, 1)
	l.waiting = append(l.waiting, again)
	return again, nil
}

// release answers all who wait.
func (l *Life) release(err error) {
	for _, again := range l.waiting {
		l.answers = append(l.answers, answer{again, err})
	}
	l.waiting = nil
}

// Close tells all who wait that there will be no process any more. Nothing but Answer comes after it.
func (l *Life) Close() {
	l.process = nil
	l.Gone()
	l.release(cardbroker.Errorf(cardbroker.Unavailable, "shutting down"))
}

// Up takes note that the process is up, or still is. It is false if the process is at its end.
func (l *Life) Up(p *Process) bool {
	switch l.phase {
	case starting:
		l.phase, l.process = ready, p
		l.release(nil)
	case ready:
	default:
		return false
	}
	return true
}

// Fails takes note of a process that is at its end: who wants one is to wait for the next.
func (l *Life) Fails(p *Process) {
	if l.phase == ready && l.process == p {
		l.phase = failing
		l.Gone()
	}
}

// Ended takes leave of a process that is gone, or could not be started.
func (l *Life) Ended(e Exit) {
	was := l.phase
	l.phase, l.process, l.idle, l.renews, l.retires = stopped, nil, time.Time{}, false, false
	l.Gone()
	l.status.LastExit = e.Why
	if e.Killed {
		l.status.Kills++
	}
	if was == stopping {
		l.early = 0
		return
	}
	if e.Age >= youngAge {
		l.early = 0
	}
	l.early++
	pause := pauseAfter(l.early)
	now := time.Now()
	l.restart, l.retry = now.Add(pause), now.Add(min(pause, askedPause))
	next := ""
	if pause > 0 {
		next = fmt.Sprintf("; next try in %v", min(pause, askedPause))
	}
	l.why = cardbroker.Wrapf(errors.New(e.Why), cardbroker.Unavailable, "%s does not run%s", l.Name, next)
	if was == starting || pause > 0 { // else those who wait came after the end, and wait for the next
		l.release(l.why)
	}
}

// pauseAfter returns how long to wait after so many early deaths.
func pauseAfter(deaths int) time.Duration {
	if deaths <= freeStarts {
		return 0
	}
	return min(firstPause<<min(deaths-freeStarts-1, 16), maxPause)
}
