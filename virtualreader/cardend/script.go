// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/script"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// script executes a part of a script, or says what the firewall thinks of it. All of its steps are judged before the first
// is executed. What ends a script is a part of its result; an error is the answer to one that cannot be.
func (e *exchange) script(ctx context.Context, p script.Part, judge bool, arrived time.Time) error {
	e.kind = wire.TypeScriptResult
	verdicts := e.verdicts(p, judge)
	if judge {
		said := make(script.Verdicts, len(verdicts))
		for i, err := range verdicts {
			if err != nil {
				said[i] = shown(err)
			}
		}
		e.payload = said.Append(e.payload)
		return nil
	}
	if !e.scripts.Follows(p) && e.lost == nil {
		return invalid("step %d of a script comes after nothing that it could go on from", p.First+1)
	}
	result, ended := e.runScript(ctx, p, verdicts)
	if ended != nil {
		return tunnelEnd{ended}
	}
	if result.Outcome != script.OK {
		e.scripts.Wipe()
	}
	if result.Why != nil {
		e.meter.Failed(arrived, result.Why)
	}
	result.Times.Agent = time.Since(arrived)
	e.payload = result.Append(e.payload)
	for _, step := range result.Steps {
		clear(step.Data)
	}
	return nil
}

// verdicts judges every step, of a part that is to run from where the card is now.
func (e *exchange) verdicts(p script.Part, judge bool) []error {
	steps, at := firewallSteps(p.Steps)
	var verdicts []error
	switch label := e.scripts.Pending(); {
	case judge && p.First > 0: // nothing of the part before has run
		verdicts = e.firewall.ScriptOn(steps)
	case p.First > 0 && label != "":
		from, ok := at[label]
		if !ok {
			from = len(steps)
		}
		verdicts = e.firewall.Script(steps, from)
	default:
		verdicts = e.firewall.Script(steps, 0)
	}
	if err := e.fetches(p.Steps[0].Command); err != nil {
		verdicts[0] = err
	}
	return verdicts
}

// firewallSteps says what the firewall has to know of the steps, and where their labels are. What is inserted is not known; it leaves
// the header alone, and SELECT.
func firewallSteps(of []script.Step) (steps []firewall.Step, at map[string]int) {
	steps, at = make([]firewall.Step, len(of)), make(map[string]int)
	for i, s := range of {
		if s.Label != "" {
			at[s.Label] = i
		}
	}
	for i, s := range of {
		steps[i] = firewall.Step{Command: s.Command, Known: len(s.Command), OK: expectsSuccess(s.Expect), Else: firewall.Stop}
		if len(s.Insert) > 0 {
			steps[i].Known = apdu.MinCommand
		}
		switch s.OnMismatch {
		case script.ActionContinue:
			steps[i].Else = i + 1
		case script.ActionGoto:
			to, ok := at[s.Goto]
			if !ok { // in a later part
				to = len(of)
			}
			steps[i].Else = to
		}
	}
	return steps, at
}

// expectsSuccess says whether the next step follows only a status word that says that the command was executed.
func expectsSuccess(expect []script.Match) bool {
	return !slices.ContainsFunc(expect, func(m script.Match) bool {
		high := m.Value >> 8
		return m.Mask>>8 != 0xFF || high != 0x90 && high != 0x61 && high != 0x62 && high != 0x63
	})
}

func (e *exchange) runScript(ctx context.Context, p script.Part, verdicts []error) (result script.Result, ended error) {
	for i, err := range verdicts {
		if err != nil {
			e.tell(err)
			return script.Result{Outcome: script.Refused, Step: p.First + i, Why: shown(err)}, nil
		}
	}
	if err := e.need(ctx); err != nil {
		return script.Result{Outcome: script.Failed, Step: p.First, Why: shown(err)}, nil
	}
	if err := e.failed(e.card.Begin(ctx)); err != nil {
		return script.Result{Outcome: script.Failed, Step: p.First, Why: shown(err)}, nil
	}
	defer e.endScript(ctx)
	heard := listening{e: e}
	result = e.scripts.Run(e.lease, p, script.Holder{
		Transmit: func(step int, dst, command []byte) ([]byte, time.Duration, error) {
			if err := heard.listen(); err != nil {
				return nil, 0, err
			}
			return e.transmitStep(ctx, step, dst, command)
		},
		Executed: e.stepExecuted,
		Progress: func(steps int) {
			e.conn.Send(wire.Header{Type: wire.TypeProgress}, wire.AppendProgress(nil, uint32(p.First+steps)))
		},
	})
	return result, heard.ended
}

// listening listens to the back end between the steps of a script.
type listening struct {
	e     *exchange
	deaf  bool  // nothing comes over the connection any more
	ended error // why the tunnel is over
}

// listen answers pings, and says that the back end has ended the tunnel, or broken the protocol: then the rest of its script is not executed.
// A connection that was cut is something else: the script goes on, and the back end comes back for its result.
func (l *listening) listen() error {
	for !l.deaf {
		select {
		case r := <-l.e.conn.Next():
			r = l.e.conn.take(r)
			ping := r.err == nil && r.head.Type == wire.TypePing && r.head.Seq == 0 && r.head.Reader == 0
			switch {
			case ping && l.e.pong(r.payload) == nil:
				continue
			case r.err == nil:
				l.ended = invalid("a frame has seq %d, but seq %d is not answered yet", r.head.Seq, l.e.seq)
			case !l.e.survives(r.err):
				l.ended = r.err
			}
			l.deaf = true
		default:
			return nil
		}
	}
	if l.ended != nil {
		return cardbroker.Errorf(cardbroker.Canceled, "the back end has ended the tunnel")
	}
	return nil
}

// endScript ends the transaction that keeps everybody else from the card between the steps of a script, the user's own programs, too.
func (e *exchange) endScript(ctx context.Context) {
	if e.card != nil {
		e.failed(e.card.End(ctx, cardbroker.LeaveCard))
	}
}

// transmitStep sends a command of a step to the card, once the journal says so. What is sent for the same step after it, the step's
// record holds for as well.
func (e *exchange) transmitStep(ctx context.Context, step int, dst, command []byte) ([]byte, time.Duration, error) {
	err := e.firewall.Check(command) // once more: now the card's answers are known
	if err == nil {
		err = e.fetches(command) // the first may be another than Steps[0]
	}
	if err != nil {
		e.tell(err)
		return nil, 0, err
	}
	if err := e.executingStep(step); err != nil {
		return nil, 0, err
	}
	if e.before = commandPlain; command[0]&0x10 != 0 { // as in transmit
		e.before = commandChained
	}
	start := time.Now()
	response, card, err := e.card.Transmit(ctx, dst, command)
	if err != nil {
		e.firewall.Saw(command, nil)
		return nil, 0, e.failed(err)
	}
	end := time.Now()
	e.meter.Answered(end, max(0, end.Sub(start)-card), card)
	e.meter.Tick(end)
	e.firewall.Saw(command, response[min(len(dst), len(response)):])
	return response, card, nil
}

// executingStep records that the card is about to get the step's command. Without that it does not get it.
func (e *exchange) executingStep(step int) error {
	if e.journal == nil || e.recorded && e.step == step {
		return nil
	}
	if err := e.executing(); err != nil {
		return err
	}
	if err := e.journal.Step(step); err != nil {
		return err
	}
	e.step = step
	return nil
}

// stepExecuted records what has become of a step.
func (e *exchange) stepExecuted(r script.StepResult) error {
	if !e.recorded {
		return nil
	}
	record := r.Append(nil)
	defer clear(record)
	return e.journal.Answered(r.Step, record)
}

// interrupted is the result of a script in whose midst the agent ended, as the journal tells it: the steps that were executed, and
// whether the card had the command of another one.
func interrupted(steps []journal.Step) script.Result {
	r := script.Result{Outcome: script.Failed, Why: cardbroker.Errorf(cardbroker.CardReset, "the agent was restarted; connect to the card again")}
	for _, s := range steps {
		one, err := script.ParseStepResult(s.Response)
		if err != nil || one.Step != s.Index { // the last, or a record that is torn
			r.Outcome, r.Step = script.Indeterminate, s.Index
			r.Why = cardbroker.Errorf(cardbroker.Indeterminate, "the agent ended while the card had the command of step %d", s.Index+1)
			return r
		}
		r.Steps, r.Step = append(r.Steps, one), s.Index+1
	}
	return r
}
