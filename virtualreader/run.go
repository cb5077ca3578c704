// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"context"
	"errors"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/script"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Run has the holder of the card run a script, in one round trip, or in one for each part of a long one; it connects to the
// card if [Tunnel.Connect] has not. Progress is told now and then how many of the script's steps are behind it; it has to
// return soon, may be called by another goroutine than the caller's, though by one at a time, and may be nil.
//
// What the holder says is the result, also where it is bad. An error says that the holder has not said anything to the end: the
// result is then what is known, Failed or Indeterminate. Reasons are those of [Tunnel.Transmit]. If two goroutines run
// scripts, they take turns.
func (t *Tunnel) Run(ctx context.Context, s script.Script, progress func(done, total int)) (script.Result, error) {
	parts, err := s.Parts()
	if err != nil {
		return failed(script.Result{}, 0, err)
	}
	if err := t.takeScripts(ctx); err != nil {
		return failed(script.Result{}, 0, err)
	}
	defer func() { <-t.scripts }()
	if progress != nil {
		tell := func(steps int) { progress(min(steps, len(s.Steps)), len(s.Steps)) }
		t.steps.Store(&tell)
		defer t.steps.Store(nil)
	}
	var all script.Result
	for _, p := range parts {
		payload, err := t.askWith(ctx, wire.TypeScript, 0, p.Append(nil), wire.TypeScriptResult)
		if err != nil {
			return failed(all, p.First, err)
		}
		one, err := script.ParseResult(payload)
		if err != nil {
			t.fail(err)
			return failed(all, p.First, t.unanswered())
		}
		if all = joined(all, one); all.Outcome != script.OK {
			break
		}
		if progress != nil {
			progress(p.First+len(p.Steps), len(s.Steps))
		}
	}
	return all, nil
}

// Judge asks the holder what its firewall thinks of each step of a script; nil: the step may pass. Nothing is executed, and
// the card is not touched.
func (t *Tunnel) Judge(ctx context.Context, s script.Script) (script.Verdicts, error) {
	parts, err := s.Parts()
	if err != nil {
		return nil, err
	}
	if err := t.takeScripts(ctx); err != nil { // each part is judged after the one before
		return nil, err
	}
	defer func() { <-t.scripts }()
	var all script.Verdicts
	for _, p := range parts {
		payload, err := t.askWith(ctx, wire.TypeScript, wire.FlagJudge, p.Append(nil), wire.TypeScriptResult)
		if err != nil {
			return nil, err
		}
		verdicts, err := script.ParseVerdicts(payload)
		if err != nil || len(verdicts) != len(p.Steps) {
			return nil, t.broken("%d verdicts on %d steps: %v", len(verdicts), len(p.Steps), err)
		}
		all = append(all, verdicts...)
	}
	return all, nil
}

// takeScripts waits for the end of another's script.
func (t *Tunnel) takeScripts(ctx context.Context) error {
	select {
	case t.scripts <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.life.Done():
		return t.Err()
	}
}

// joined appends the result of the next part.
func joined(all, next script.Result) script.Result {
	next.Steps = append(all.Steps, next.Steps...)
	next.Times.Queue += all.Times.Queue
	next.Times.Card += all.Times.Card
	next.Times.Agent += all.Times.Agent
	return next
}

// failed is the result where the holder has not said how a part ended.
func failed(r script.Result, step int, err error) (script.Result, error) {
	r.Outcome, r.Step = script.Failed, step
	if cardbroker.ReasonOf(err) == cardbroker.Indeterminate {
		r.Outcome = script.Indeterminate
	}
	if e, ok := errors.AsType[*cardbroker.Error](err); ok {
		r.Why = e
	} else {
		r.Why = cardbroker.Wrapf(err, cardbroker.ReasonOf(err), "the script was not run")
	}
	return r, err
}

// progressed tells of the progress of the script that runs. The caller holds reading.
func (t *Tunnel) progressed(payload []byte) error {
	steps, err := wire.ParseProgress(payload)
	if tell := t.steps.Load(); err == nil && tell != nil && steps <= script.MaxScript {
		(*tell)(int(steps))
	}
	return err
}

// add takes a frame of the answer and says whether another one follows.
func (a *answer) add(head wire.Header, payload []byte) (more bool, err error) {
	if a.seq != 0 && (head.Seq != a.seq || head.Type != a.kind) {
		return false, cardbroker.Errorf(cardbroker.Invalid, "a frame of type %d with seq %d comes in the middle of an answer", head.Type, head.Seq)
	}
	if len(a.payload)+len(payload) > script.MaxResult {
		return false, cardbroker.Errorf(cardbroker.Invalid, "an answer has more than %d bytes", script.MaxResult)
	}
	a.kind, a.seq, a.payload = head.Type, head.Seq, append(a.payload, payload...)
	return head.Flags&wire.FlagMore != 0, nil
}
