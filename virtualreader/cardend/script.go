// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
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

// script executes a part of a script, or says what the firewall thinks of it. All of its steps are judged before the first
// is executed. What ends a script is a part of its result; an error is the answer to one that cannot be.
func (e *exchange) script(ctx context.Context, p script.Part, judge bool, arrived time.Time) error {
	e.kind = wire.TypeScriptResult
	verdicts := e.verdicts(p.Steps)
	if judge {
		e.payload = verdicts.Append(e.payload)
		return nil
	}
	if !e.scripts.Follows(p) {
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
	send := func(_ context.Context, _ int, dst, command []byte) ([]byte, time.Duration, error) {
		if e.before = commandPlain; command[0]&0x10 != 0 { // as in transmit
			e.before = commandChained
		}
		response, card, err := e.card.Transmit(ctx, dst, command)
		if err != nil {
			return nil, 0, e.failed(err)
		}
		return response, card, nil
	}
	return e.scripts.Run(e.lease, p, send, func(steps int) {
		e.conn.Send(wire.Header{Type: wire.TypeProgress}, wire.AppendProgress(nil, uint32(p.First+steps)))
	})
}

// sendFrames sends an answer, in several frames if one does not hold it.
func sendFrames(conn Conn, head wire.Header, payload []byte) error {
	for len(payload) > wire.MaxPayload {
		more := head
		more.Flags |= wire.FlagMore
		if err := conn.Send(more, payload[:wire.MaxPayload]); err != nil {
			return err
		}
		payload = payload[wire.MaxPayload:]
	}
	return conn.Send(head, payload)
}
