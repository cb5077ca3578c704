// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
)

const (
	healthEvery = time.Second     // how often a leader asks whether he works
	healthLimit = 2 * time.Second // an answer that takes longer is none
	leaveLimit  = time.Second     // how long a Term may take to end; then the process does

	beat   = 100 * time.Millisecond // such limits are counted in these
	atMost = 5                      // times a limit: who is as slow as that is of no use, whatever keeps him
)

// office is our office, or that we have none. It is immutable.
type office struct {
	leave context.CancelCauseFunc // ends the Term, which others see the cause of in the log; nil: we do not lead
	ended chan struct{}           // is closed when the Term has ended
	left  time.Time               // when our last Term ended; zero: we have had none
}

// hold takes office when somebody asks for it, and serves the Term. So there is never more than one Take or Term.
func (e *Elector) hold(ctx context.Context) error {
	for {
		select {
		case answer := <-e.asks:
			term, err := e.take(ctx)
			answer <- err
			if err == nil {
				term()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// take takes office, unless ctx has ended, and returns what serves the Term. From here on we lead.
func (e *Elector) take(ctx context.Context) (serve func(), err error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	term, err := e.cfg.Take(ctx)
	if err != nil {
		return nil, err
	}
	ctx, leave := context.WithCancelCause(ctx)
	o := &office{leave: leave, ended: make(chan struct{})}
	e.enter(o)
	return func() { e.serve(ctx, o, term) }, nil
}

// enter publishes our office.
func (e *Elector) enter(o *office) {
	e.office.Store(o)
	loop.Signal(e.wake)
	loop.Signal(e.changed)
}

// serve runs the Term until it ends, or until ctx does: by Resign, by the watchdog, or with Run. Whatever of it goes on for a
// second longer hangs, and is abandoned; if the process survives that, we go on to lead: what Take took is still ours.
func (e *Elector) serve(ctx context.Context, o *office, term Term) {
	since := time.Now()
	limit := run.New(context.WithoutCancel(ctx))
	limit.Go("limit", func(over context.Context) error {
		<-ctx.Done()
		if e.spend(over, leaveLimit) {
			e.cfg.Abandon(fmt.Errorf("the term has not ended in %v: %w", leaveLimit, context.Cause(ctx)))
		}
		return nil
	})
	g := run.New(ctx)
	g.Go("term", func(ctx context.Context) error {
		err := term(ctx)
		if err == nil {
			err = errors.New("the term has ended")
		}
		o.leave(err)
		return nil
	})
	g.Go("watchdog", func(ctx context.Context) error {
		e.watch(ctx, o.leave)
		return nil
	})
	g.Wait()
	limit.Stop()
	e.cfg.Log.Info("this agent keeps the registry no longer", "dur", time.Since(since), "reason", context.Cause(ctx))
	e.enter(&office{left: time.Now()})
	close(o.ended)
}

// watch asks each second whether we work, as others would ask, and leaves office if not. One question without an answer
// will do: it took twice as long as others are to be without a registry, and what hangs does not come back. What fails at
// once has to fail twice in a row, because a lack of descriptors or ports may pass.
func (e *Elector) watch(ctx context.Context, leave context.CancelCauseFunc) {
	for failed := false; run.Pause(ctx, healthEvery); {
		err := e.ask(ctx, leave)
		if err != nil && failed {
			leave(fmt.Errorf("no office without health: %w", err))
		}
		failed = err != nil
	}
}

// ask asks once. The verdict does not wait for the one who asks, who may hang as the Term does.
func (e *Elector) ask(ctx context.Context, leave context.CancelCauseFunc) error {
	limit := run.New(ctx)
	defer limit.Stop()
	limit.Go("limit", func(ctx context.Context) error {
		if !e.spend(ctx, healthLimit) {
			return nil
		}
		err := fmt.Errorf("the term hangs: no answer in %v", healthLimit)
		leave(err)
		return err
	})
	return e.cfg.Health(limit.Context())
}

// spend waits until this process has had d to work in, and says whether ctx has not ended meanwhile. It counts beats: of a time in which
// we were stopped, or had no processor, no more than one counts. Whoever was to answer had none either, and does not hang.
func (e *Elector) spend(ctx context.Context, d time.Duration) bool {
	for end := time.Now().Add(atMost * d); d > 0 && time.Now().Before(end); d -= beat {
		if !e.pause(ctx, beat) {
			return false
		}
	}
	return true
}

// Resign ends our Term, if one runs, and waits for its end, or for ctx. why is for the log. A Term that has not ended a second
// later is abandoned.
func (e *Elector) Resign(ctx context.Context, why string) error {
	o := e.office.Load()
	if o.leave == nil {
		return nil
	}
	o.leave(errors.New(why))
	select {
	case <-o.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
