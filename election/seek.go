// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
)

const (
	firstDial = 2 * time.Millisecond   // to 5: from the first try to the second
	lastDial  = 100 * time.Millisecond // between tries, at last; a refused one costs 50 µs

	rankStep    = 15 * time.Millisecond  // more than the bind of who comes before takes
	watcherWait = 300 * time.Millisecond // who is no voter lets all these try first
	watcherMore = 150 * time.Millisecond // up to: so that a thousand watchers do not try at once
	startMore   = 30 * time.Millisecond  // up to: who has never seen anybody waits for nobody

	followWait = 15 * time.Millisecond // who is no voter leaves the processors to these first, or nobody is soon elected
	followMore = 35 * time.Millisecond // up to: so that who was elected gets them one after the other

	afterConflict = 5 * time.Millisecond   // somebody has won, or dies slowly; doubled each time
	manyConflicts = 6                      // tries, half a second: it is no leader who comes or goes
	afterFailure  = 100 * time.Millisecond // we cannot take office; doubled each time
	longestRest   = 5 * time.Second
)

// Seek calls dial until it returns nil, or an error other than Unavailable, which it returns: somebody is there, and not for us. Who has
// found somebody before begins when those who try before him may have taken office, at once if nobody does; others begin at once.
// Between tries, once it is our turn and not before the given time, it takes office itself; zero: at any time. dial connects to
// whoever holds office, us included. It returns when ctx ends, at the latest. Any number may seek.
func (e *Elector) Seek(ctx context.Context, notBefore time.Time, dial func(ctx context.Context) error) error {
	c := &candidacy{e: e, from: time.Now(), chance: rand.Float64(), pace: firstDial}
	if notBefore.After(c.from) {
		c.from = notBefore
	}
	if e.seen.Load() && !run.Pause(ctx, c.first()) {
		return ctx.Err()
	}
	for {
		err := dial(ctx)
		switch {
		case err == nil:
			e.seen.Store(true)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case cardbroker.ReasonOf(err) != cardbroker.Unavailable:
			return err
		}
		if !c.wait(ctx) {
			return ctx.Err()
		}
	}
}

// candidacy is one Seek, from the end of the watch on.
type candidacy struct {
	e      *Elector
	from   time.Time // our turn counts from here: the end of the watch, or our last try
	chance float64   // in [0, 1): our place among those who wait for as long as we do; drawn once, or none would wait
	pace   time.Duration
	tries  int // that have failed
}

// first returns how long after the end of a watch it is worth while to dial: when one of those who try before us may have
// taken office.
func (c *candidacy) first() time.Duration {
	if n, voter := c.e.rank(); voter {
		return time.Duration(n) * rankStep
	}
	return followWait + c.part(followMore)
}

// wait returns when it is time to dial again, false if ctx has ended. If it is our turn before that, it takes office.
func (c *candidacy) wait(ctx context.Context) bool {
	pause := min(c.pace+time.Duration(rand.Float64()*1.5*float64(c.pace)), lastDial)
	c.pace = min(2*c.pace, lastDial)
	turn := max(time.Until(c.turn()), 0)
	if c.e.Leads() || turn > pause {
		return run.Pause(ctx, pause)
	}
	if !run.Pause(ctx, turn) {
		return false
	}
	c.try(ctx)
	return ctx.Err() == nil
}

// turn returns when we may take office. Who has left it stands back as a watcher does: he may have hung.
func (c *candidacy) turn() time.Time {
	watcher := watcherWait + c.part(watcherMore)
	delay := c.part(startMore)
	if n, voter := c.e.rank(); voter {
		delay = time.Duration(n) * rankStep
	} else if c.e.seen.Load() {
		delay = watcher
	}
	at := c.from.Add(delay)
	if left := c.e.office.Load().left; !left.IsZero() && left.Add(watcher).After(at) {
		at = left.Add(watcher)
	}
	return at
}

// try asks for office. If that fails our turn counts anew, after a rest.
func (c *candidacy) try(ctx context.Context) {
	answer := make(chan error, 1)
	select {
	case c.e.asks <- answer:
	default: // our own Term begins or ends, or Run is not there
		c.from = time.Now().Add(lastDial)
		return
	}
	var err error
	select {
	case err = <-answer:
	case <-ctx.Done():
		return
	}
	switch {
	case err == nil:
		c.pace = firstDial
		return
	case cardbroker.ReasonOf(err) == cardbroker.Conflict:
		if c.tries == manyConflicts {
			c.e.cfg.Log.Warn("cannot take office, which nobody holds", "err", err)
		}
		c.pace = firstDial
		c.retry(afterConflict)
	default:
		c.e.cfg.Log.Warn("cannot take office", "err", err)
		c.retry(afterFailure)
	}
}

// retry has our turn count from the end of a rest on, which is longer each time.
func (c *candidacy) retry(rest time.Duration) {
	rest = min(rest<<min(c.tries, 10), longestRest)
	c.tries++
	c.from = time.Now().Add(rest + c.part(rest))
}

// part returns our part of a spread.
func (c *candidacy) part(d time.Duration) time.Duration { return time.Duration(c.chance * float64(d)) }
