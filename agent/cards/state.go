// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
)

// phase is where the child is in its life.
type phase int

const (
	stopped  phase = iota // there is none
	starting              // it has not told all its readers yet
	ready
	stopping // told to end, for want of users
	failing  // its end was noticed; attend will say why it came
)

// state is what the loop owns. Changes happen in its methods; [state.Commit] then starts or stops the child as needed.
type state struct {
	sandbox  *Sandbox
	group    *run.Group
	phase    phase
	child    *child                   // in ready, stopping and failing
	readers  []reader                 // in ready; by name; never changed, only replaced
	shown    []cardbroker.Reader      // the same for others
	watchers map[chan struct{}]bool   // subscribers
	waiting  []chan error             // who wants the child to be ready; capacity 1
	answers  []answer                 // for those who have waited; given once the view says the same
	idle     time.Time                // when the child is stopped; zero: it is in use
	restart  time.Time                // not before, where nobody asks
	retry    time.Time                // not before, when somebody asks
	early    int                      // children in a row that died young
	why      error                    // the last one did
	renews   bool                     // the child is to be replaced
	forbids  error                    // why nobody may use the readers; nil: they may
	left     map[string]*atomic.Int32 // by reader; a party's, see [Card]; of readers that were ever used
	status   Status
	changed  bool // the readers, since the last Commit
}

var _ loop.Owner[*state] = (*state)(nil)

// answer is what one who has waited is told.
type answer struct {
	to  chan error
	err error
}

// A child that dies younger than youngAge is no good. The first few are replaced at once, then only after a pause that
// doubles up to maxPause; who asks need not wait for more than askedPause of it: what was missing may be there by now.
const (
	youngAge   = 10 * time.Second
	freeStarts = 3
	firstPause = 250 * time.Millisecond
	maxPause   = 30 * time.Second
	askedPause = time.Second
)

// Begin implements [loop.Owner].
func (st *state) Begin() *state { return st }

// Tick implements [loop.Owner]. What is due is done in Commit, as after every other change.
func (st *state) Tick(*state, time.Time) {}

// Deadline implements [loop.Owner].
func (st *state) Deadline() time.Time {
	switch {
	case st.phase == ready:
		return st.idle
	case st.phase == stopped && st.wanted():
		return st.restart
	}
	return time.Time{}
}

// Commit implements [loop.Owner]: it starts the child if somebody wants it, stops it if nobody has used it for long,
// publishes the view and signals the subscribers.
func (st *state) Commit(context.Context, *state) error {
	now := time.Now()
	switch {
	case st.phase == stopped && st.wanted() && !now.Before(st.restart):
		st.phase = starting
		st.status.Starts++
		st.group.Go("sandbox child", st.sandbox.attend)
	case st.phase != ready:
	case st.forbids != nil, st.renews:
		st.halt()
	case st.wanted() || st.child.uses > 0:
		st.idle = time.Time{}
	case st.idle.IsZero():
		st.idle = now.Add(st.sandbox.cfg.Idle)
	case !now.Before(st.idle):
		st.halt()
	}
	st.publish()
	st.answer()
	return nil
}

// answer tells those who have waited.
func (st *state) answer() {
	for _, a := range st.answers {
		a.to <- a.err
	}
	st.answers = nil
}

// halt tells the child to end.
func (st *state) halt() {
	st.phase, st.renews = stopping, false
	st.setReaders(nil)
	st.child.stop()
}

// wanted says whether there is to be a child though nobody uses it.
func (st *state) wanted() bool {
	return st.forbids == nil && (len(st.watchers) > 0 || len(st.waiting) > 0)
}

// renew has the child replaced, if there is one that may have asked for the readers already.
func (st *state) renew() {
	st.renews = st.phase == starting || st.phase == ready
	st.sandbox.epoch.Add(1)
}

// forbid closes the readers to everybody, or opens them again.
func (st *state) forbid(why error) {
	st.forbids = why
	if why != nil {
		st.release(why)
	}
}

func (st *state) publish() {
	v := &view{readers: st.shown, status: st.status}
	if st.child != nil {
		v.status.PID = st.child.pid()
	}
	st.sandbox.view.Store(v)
	if !st.changed {
		return
	}
	st.changed = false
	for signal := range st.watchers {
		loop.Signal(signal)
	}
}

func (st *state) setReaders(readers []reader) {
	st.readers, st.shown = readers, nil
	for _, r := range readers {
		st.shown = append(st.shown, r.Reader)
	}
	st.changed = true
}

// whenReady runs do if the child is ready. Else it returns a channel that says when to ask again, or that it is no use.
func (st *state) whenReady(do func(*state) error) (chan error, error) {
	if st.forbids != nil {
		return nil, st.forbids
	}
	st.idle = time.Time{} // this is a use
	if st.phase == ready {
		return nil, do(st)
	}
	if now := time.Now(); st.phase == stopped && now.Before(st.restart) {
		if now.Before(st.retry) {
			return nil, st.why
		}
		st.restart = now
	}
	again := make(chan error, 1)
	st.waiting = append(st.waiting, again)
	return again, nil
}

// release answers all who wait, with the next Commit.
func (st *state) release(err error) {
	for _, again := range st.waiting {
		st.answers = append(st.answers, answer{again, err})
	}
	st.waiting = nil
}

// close tells all who look or wait that there will be no child any more.
func (st *state) close() {
	st.child = nil
	st.setReaders(nil)
	st.publish()
	st.release(cardbroker.Errorf(cardbroker.Unavailable, "shutting down"))
	st.answer()
}

// told takes the list of a child that is up.
func (st *state) told(c *child, readers []reader) {
	switch st.phase {
	case starting:
		st.phase, st.child = ready, c
		st.release(nil)
	case ready:
	default:
		return // it is at its end
	}
	if hidden := st.sandbox.cfg.Hidden; hidden != nil {
		readers = slices.DeleteFunc(slices.Clone(readers), func(r reader) bool { return hidden(r.Name) })
	}
	st.setReaders(readers)
}

// fails takes note of a child that is at its end: who wants one is to wait for the next.
func (st *state) fails(c *child) {
	if st.phase == ready && st.child == c {
		st.phase = failing
		st.setReaders(nil)
	}
}

// ended takes leave of a child that is gone, or could not be started.
func (st *state) ended(exit exit) {
	was := st.phase
	st.phase, st.child, st.idle, st.renews = stopped, nil, time.Time{}, false
	if len(st.readers) > 0 {
		st.setReaders(nil)
	}
	st.status.LastExit = exit.why
	if exit.killed {
		st.status.Kills++
	}
	if was == stopping {
		st.early = 0
		return
	}
	if exit.age >= youngAge {
		st.early = 0
	}
	st.early++
	pause := pauseAfter(st.early)
	now := time.Now()
	st.restart, st.retry = now.Add(pause), now.Add(min(pause, askedPause))
	next := ""
	if pause > 0 {
		next = fmt.Sprintf("; next try in %v", min(pause, askedPause))
	}
	st.why = cardbroker.Errorf(cardbroker.Unavailable, "the sandbox does not run: %s%s", exit.why, next)
	if was == starting || pause > 0 { // else those who wait came after the end, and wait for the next
		st.release(st.why)
	}
}

// pauseAfter returns how long to wait after so many early deaths.
func pauseAfter(deaths int) time.Duration {
	if deaths <= freeStarts {
		return 0
	}
	return min(firstPause<<min(deaths-freeStarts-1, 16), maxPause)
}

// claim finds the card's reader and takes it for the card, or a place in the queue of local programs.
func (st *state) claim(c *Card) error {
	for _, r := range st.readers {
		if r.Name != c.reader {
			continue
		}
		l := st.child.links[r.stream]
		switch {
		case c.party == local && l.sole:
			return RefuseSole(c.holder())
		case c.party == local && l.turns >= maxTurns:
			return cardbroker.Errorf(cardbroker.ReaderBusy, "%d local programs of this session use the reader or wait for it", maxTurns)
		case c.party == local:
			l.turns++
		case l.claimed:
			return cardbroker.Errorf(cardbroker.ReaderBusy, "a back end uses the reader")
		default:
			l.claimed, l.sole = true, c.share != cardbroker.ShareShared
		}
		l.child.uses++
		c.link, c.number, c.left = l, r.number, st.leftOn(r.Name)
		return nil
	}
	return cardbroker.Errorf(cardbroker.ReaderUnknown, "there is no such reader")
}

// leftOn returns where it stands who has left something on the card in the reader of that name.
func (st *state) leftOn(name string) *atomic.Int32 {
	if st.left[name] == nil {
		st.left[name] = new(atomic.Int32)
	}
	return st.left[name]
}
