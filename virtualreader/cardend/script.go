// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/script"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// gathering is a script whose frames have not all come yet.
type gathering struct {
	head    wire.Header
	payload []byte
}

// gather takes a frame of a script that has several, and returns the script as if it had come in one. Until the last frame has
// come there is nothing to answer, and any other frame is a broken protocol. Frames of another type pass as they are.
func (g *gathering) gather(head wire.Header, payload []byte) (wire.Header, []byte, bool, error) {
	pending := len(g.payload) > 0
	if !pending && head.Flags&wire.FlagMore == 0 {
		return head, payload, true, nil
	}
	first := g.head
	if !pending {
		first = head
	}
	if head.Type != wire.TypeScript || head.Seq != first.Seq || head.Flags|wire.FlagMore != first.Flags || head.Reader != first.Reader {
		return head, nil, false, invalid("a frame of type %d with seq %d comes in the middle of a script", head.Type, head.Seq)
	}
	if len(payload) == 0 || len(g.payload)+len(payload) > script.MaxPart {
		return head, nil, false, invalid("the frames of a script are empty, or have more than %d bytes", script.MaxPart)
	}
	g.head, g.payload = first, append(g.payload, payload...)
	if head.Flags&wire.FlagMore != 0 {
		return head, nil, false, nil
	}
	whole := g.payload
	*g = gathering{}
	return head, whole, true, nil
}

// drop forgets the frames of a script whose rest does not come: over another connection they come again.
func (g *gathering) drop() {
	clear(g.payload)
	*g = gathering{}
}

// identity is what a frame is besides its payload: a script that is to be judged is another frame than one that is to be executed.
func identity(head wire.Header) wire.Type {
	return head.Type | wire.Type(head.Flags&wire.FlagJudge)<<6
}

// script executes a part of a script, or says what the firewall thinks of it. All of its steps are judged before the first
// is executed. What ends a script is a part of its result; an error is the answer to one that cannot be.
func (e *exchange) script(ctx context.Context, p script.Part, judge bool, arrived time.Time) error {
	e.kind = wire.TypeScriptResult
	verdicts := e.verdicts(p.Steps)
	if judge {
		e.payload = verdicts.Append(e.payload)
		return nil
	}
	if !e.scripts.Follows(p) && e.lost == nil {
		return invalid("step %d of a script comes after nothing that it could go on from", p.First+1)
	}
	result := e.runScript(ctx, p, verdicts)
	if result.Outcome != script.OK {
		e.scripts.Wipe()
	}
	result.Times.Agent = time.Since(arrived)
	e.payload = result.Append(e.payload)
	for _, step := range result.Steps {
		clear(step.Data)
	}
	return nil
}

// verdicts judges every step. What is inserted is not known, but for its length.
func (e *exchange) verdicts(steps []script.Step) script.Verdicts {
	verdicts := make(script.Verdicts, len(steps))
	for i := range steps {
		if err := judge(steps[i].Command, e.tunnel.PIN); err != nil {
			verdicts[i] = shown(err)
		}
	}
	if e.before == commandPIN && steps[0].Command[1] == 0xC0 {
		verdicts[0] = cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, "GET RESPONSE is not allowed after a PIN")
	}
	return verdicts
}

func (e *exchange) runScript(ctx context.Context, p script.Part, verdicts script.Verdicts) script.Result {
	for i, why := range verdicts {
		if why != nil {
			return script.Result{Outcome: script.Refused, Step: p.First + i, Why: why}
		}
	}
	if err := e.need(ctx); err != nil {
		return script.Result{Outcome: script.Failed, Step: p.First, Why: shown(err)}
	}
	return e.scripts.Run(e.lease, p, script.Holder{
		Transmit: func(step int, dst, command []byte) ([]byte, time.Duration, error) {
			return e.transmitStep(ctx, step, dst, command)
		},
		Executed: e.stepExecuted,
		Progress: func(steps int) {
			e.conn.Send(wire.Header{Type: wire.TypeProgress}, wire.AppendProgress(nil, uint32(p.First+steps)))
		},
	})
}

// transmitStep sends a command of a step to the card, once the journal says so. What is sent for the same step after it, the step's
// record holds for as well.
func (e *exchange) transmitStep(ctx context.Context, step int, dst, command []byte) ([]byte, time.Duration, error) {
	if err := e.executingStep(step); err != nil {
		return nil, 0, err
	}
	if e.before = commandPlain; command[0]&0x10 != 0 { // as in transmit
		e.before = commandChained
	}
	response, card, err := e.card.Transmit(ctx, dst, command)
	if err != nil {
		return nil, 0, e.failed(err)
	}
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
