// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/script"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// part makes a part of a script of its commands.
func part(commands ...[]byte) script.Part {
	p := script.Part{Limit: time.Minute}
	for _, command := range commands {
		p.Steps = append(p.Steps, script.Step{Command: command})
	}
	return p
}

// longCommand has 60,000 bytes of data.
func longCommand(fill byte) []byte {
	return append([]byte{0, 0xDA, 0, 0, 0, 60000 >> 8, 60000 & 0xFF}, bytes.Repeat([]byte{fill}, 60000)...)
}

// sendScript sends a script in frames of at most size bytes, with the next seq.
func (b *backEnd) sendScript(p script.Part, flags uint16, size int) {
	b.t.Helper()
	b.seq++
	b.againScript(p, flags, size)
}

// againScript sends it with the last seq.
func (b *backEnd) againScript(p script.Part, flags uint16, size int) {
	rest := p.Append(nil)
	for ; len(rest) > size; rest = rest[size:] {
		b.conn.Send(wire.Header{Type: wire.TypeScript, Flags: flags | wire.FlagMore, Seq: b.seq}, rest[:size])
	}
	b.conn.Send(wire.Header{Type: wire.TypeScript, Flags: flags, Seq: b.seq}, rest)
}

// results receives the answer to a script, and says how many frames it had.
func (b *backEnd) results() (payload []byte, frames int) {
	b.t.Helper()
	for {
		h, p, err := b.conn.Receive()
		if err != nil {
			b.t.Fatal(err)
		}
		if h.Seq == 0 {
			continue
		}
		if h.Type != wire.TypeScriptResult || h.Seq != b.seq {
			b.t.Fatalf("got type %d seq %d %q, want the result of a script", h.Type, h.Seq, p)
		}
		payload, frames = append(payload, p...), frames+1
		if h.Flags&wire.FlagMore == 0 {
			return payload, frames
		}
	}
}

func (b *backEnd) result() script.Result {
	b.t.Helper()
	payload, _ := b.results()
	r, err := script.ParseResult(payload)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func TestScript(t *testing.T) {
	a := newAgent(t)
	b := a.open("issuer")
	other := []byte{0, 0xCA, 0, 0, 1}
	b.sendScript(part(selectCommand, other), 0, wire.MaxPayload)
	r := b.result()
	if r.Outcome != script.OK || len(r.Steps) != 2 || !bytes.Equal(r.Steps[0].Data, selectCommand) || !bytes.Equal(r.Steps[1].Data, other) {
		t.Errorf("the result is %+v", r)
	}
	if r.Times.Card != 2*time.Millisecond || r.Times.Agent == 0 {
		t.Errorf("the times are %+v", r.Times)
	}
}

// TestScriptIsATransaction: nobody comes between the steps of a script, and it leaves no transaction behind.
func TestScriptIsATransaction(t *testing.T) {
	a := newAgent(t)
	b := a.open("issuer")
	for _, within := range []int{0, 1} { // and none of the back end's own is ended
		if within > 0 {
			b.ask(wire.TypeBegin, nil, wire.TypeDone)
		}
		gate := a.reader.Hold()
		b.sendScript(part(selectCommand, selectCommand), 0, wire.MaxPayload)
		release := <-gate
		if n := a.reader.Transactions(); n != within+1 {
			t.Errorf("during a script there are %d transactions, want %d", n, within+1)
		}
		close(release)
		if r := b.result(); r.Outcome != script.OK {
			t.Errorf("the result is %+v", r)
		}
		if n := a.reader.Transactions(); n != within {
			t.Errorf("after it there are %d transactions, want %d", n, within)
		}
	}
}

// TestScriptInFrames sends more than one frame holds, gets more back, and gets it once more when it asks again.
func TestScriptInFrames(t *testing.T) {
	a := newAgent(t)
	b := a.open("issuer")
	p := part(longCommand(1), longCommand(2), longCommand(3), longCommand(4))
	b.sendScript(p, 0, wire.MaxPayload)
	first, frames := b.results()
	r, err := script.ParseResult(first)
	if err != nil || r.Outcome != script.OK || len(r.Steps) != 4 || !bytes.Equal(r.Steps[3].Data, longCommand(4)) || frames != 2 {
		t.Errorf("the result is %v with %d steps in %d frames, %v", r.Outcome, len(r.Steps), frames, err)
	}
	for _, size := range []int{wire.MaxPayload, 100000} {
		b.againScript(p, 0, size)
		if again, _ := b.results(); !bytes.Equal(again, first) {
			t.Errorf("the second answer has %d bytes and is another than the first of %d", len(again), len(first))
		}
	}
	if n := a.reader.Executed(); n != 4 {
		t.Errorf("the card executed %d commands, want 4", n)
	}
	p.Steps[0].Command[9]++
	b.againScript(p, 0, wire.MaxPayload)
	b.over(cardbroker.Invalid)
}

// TestScriptIsJudged before anything of it is executed, all of it; and it can be judged alone.
func TestScriptIsJudged(t *testing.T) {
	a := newAgent(t)
	b := a.open("issuer")
	p := part(selectCommand, []byte{0, 0x20, 0, 0x80, 1, 0x31}, []byte{0, 0x70, 0, 0})
	p.Steps[0].OnMismatch, p.Steps[0].Goto = script.ActionGoto, "end"
	p.Steps[2].Label = "end"
	b.sendScript(p, wire.FlagJudge, 10)
	payload, _ := b.results()
	verdicts, err := script.ParseVerdicts(payload)
	if err != nil || len(verdicts) != 3 || verdicts[0] != nil || verdicts[1].Rule != cardbroker.RuleFirewall || verdicts[2].Reason != cardbroker.Forbidden {
		t.Errorf("the verdicts are %v, %v", verdicts, err)
	}
	b.sendScript(p, 0, wire.MaxPayload)
	if r := b.result(); r.Outcome != script.Refused || r.Step != 1 || r.Why.Rule != cardbroker.RuleFirewall || len(r.Steps) > 0 {
		t.Errorf("the result is %+v", r)
	}
	if a.reader.Executed() != 0 || a.reader.Connections() != 0 {
		t.Errorf("the card executed %d commands and was connected to %d times, want neither", a.reader.Executed(), a.reader.Connections())
	}
	b.sendScript(part(selectCommand), 0, wire.MaxPayload)
	if r := b.result(); r.Outcome != script.OK {
		t.Errorf("after a refusal: %+v", r)
	}
}

// TestJudgedIsNotExecuted: the same bytes with the same number, but to be executed, are another frame.
func TestJudgedIsNotExecuted(t *testing.T) {
	a := newAgent(t)
	b := a.open("issuer")
	b.sendScript(part(selectCommand), wire.FlagJudge, wire.MaxPayload)
	b.results()
	b.againScript(part(selectCommand), wire.FlagJudge, wire.MaxPayload)
	b.results()
	b.againScript(part(selectCommand), 0, wire.MaxPayload)
	b.over(cardbroker.Invalid)
}

// TestScriptAfterPIN: what the card has for GET RESPONSE after a PIN that the user entered is not for the back end.
func TestScriptAfterPIN(t *testing.T) {
	a, u := withPad(t)
	b := a.open("issuer")
	u.enters("1234")
	b.pad(pinpad.VerifyPINDirect, verifyStructure(t, 30, verifyTemplate))
	executed := a.reader.Executed()
	b.sendScript(part([]byte{0, 0xC0, 0, 0, 0}), 0, wire.MaxPayload)
	if r := b.result(); r.Outcome != script.Refused || a.reader.Executed() != executed {
		t.Errorf("GET RESPONSE after a PIN: %+v", r)
	}
	b.sendScript(part(selectCommand, []byte{0, 0xC0, 0, 0, 0}), 0, wire.MaxPayload)
	if r := b.result(); r.Outcome != script.OK {
		t.Errorf("GET RESPONSE after another command: %+v", r)
	}
}

// TestScriptIsMeasured as its commands would be.
func TestScriptIsMeasured(t *testing.T) {
	a := newAgent(t)
	said := make(chan api.Usage, 1)
	a.change = func(t *cardend.Tunnel) { t.Report = func(u api.Usage) { said <- u } }
	b := a.open("issuer")
	b.sendScript(part(selectCommand, selectCommand), 0, wire.MaxPayload)
	b.result()
	b.sendScript(part([]byte{0, 0x70, 0, 0}), 0, wire.MaxPayload)
	b.result()
	b.conn.Shutdown(nil)
	b.over("")
	if u := <-said; u.Commands != 2 || u.Card.Micros != 2000 || u.Refused[cardbroker.RuleFirewall] != 1 {
		t.Errorf("the usage is %+v", u)
	}
}

// TestScriptParts: a register of one part is there in the next, and only the next comes next.
func TestScriptParts(t *testing.T) {
	a := newAgent(t)
	b := a.open("issuer")
	first, second := part([]byte{0, 0xCA, 1, 2, 3}), part([]byte{0x80, 0x50, 0, 0, 2, 0xFF, 0xFF})
	first.Open, second.First = true, 1
	first.Steps[0].Capture = []script.Capture{{Register: "a", Offset: 2, Length: 2}}
	second.Steps[0].Insert = []script.Insert{{Register: "a", Length: 2}}
	alone := func() {
		b.sendScript(second, 0, wire.MaxPayload)
		if e, err := wire.ParseError(b.expect(wire.TypeError, b.seq)); err != nil || e.Reason != cardbroker.Invalid {
			t.Errorf("a part after nothing: %v, %v", e, err)
		}
	}
	alone()
	b.sendScript(first, 0, wire.MaxPayload)
	b.result()
	b.sendScript(second, 0, wire.MaxPayload)
	if r := b.result(); r.Outcome != script.OK || r.Steps[0].Step != 1 || !bytes.Equal(a.reader.Sent(), []byte{0x80, 0x50, 0, 0, 2, 1, 2}) {
		t.Errorf("the second part: %+v, the card was sent %X", r, a.reader.Sent())
	}
	alone() // again
	b.sendScript(first, 0, wire.MaxPayload)
	b.result()
	b.sendScript(part([]byte{0, 0x70, 0, 0}), 0, wire.MaxPayload)
	b.result()
	alone() // after another script, that was refused
}

// TestScriptFails in the midst of its steps.
func TestScriptFails(t *testing.T) {
	for _, test := range []struct {
		name    string
		fail    func(a *agent, release chan struct{})
		outcome script.Outcome
		why     cardbroker.Reason
		steps   int
	}{
		{"removed", func(a *agent, release chan struct{}) { a.reader.Remove(); close(release) }, script.Failed, cardbroker.CardRemoved, 0},
		{"reset", func(a *agent, release chan struct{}) { a.reader.Reset(); close(release) }, script.Failed, cardbroker.CardReset, 0},
		{"lost", func(a *agent, release chan struct{}) { a.reader.Lose(); close(release) }, script.Indeterminate, cardbroker.Indeterminate, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAgent(t)
			b := a.open("issuer")
			gate := a.reader.Hold()
			b.sendScript(part(selectCommand, selectCommand), 0, wire.MaxPayload)
			test.fail(a, <-gate)
			if r := b.result(); r.Outcome != test.outcome || r.Why.Reason != test.why || len(r.Steps) != test.steps {
				t.Errorf("the result is %+v, want %v, %s", r, test.outcome, test.why)
			}
			if n := a.reader.Executed(); n != 1 {
				t.Errorf("the card executed %d commands, want 1", n)
			}
		})
	}
	t.Run("absent", func(t *testing.T) {
		a := newAgent(t)
		b := a.open("issuer")
		a.reader.Remove()
		b.sendScript(part(selectCommand), 0, wire.MaxPayload)
		if r := b.result(); r.Outcome != script.Failed || r.Why.Reason != cardbroker.CardAbsent || len(r.Steps) != 0 {
			t.Errorf("the result is %+v", r)
		}
	})
	t.Run("revoked", func(t *testing.T) {
		a := newAgent(t)
		b := a.open("issuer")
		gate := a.reader.Hold()
		b.sendScript(part(slices.Repeat([][]byte{selectCommand}, 100)...), 0, wire.MaxPayload)
		release := <-gate
		if err := a.leases.Revoke(t.Context(), a.leases.List()[0].Tunnel, "revoked"); err != nil {
			t.Fatal(err)
		}
		b.expect(wire.TypeRevoked, 0)
		close(release)
		b.over(cardbroker.Forbidden)
		if n := a.reader.Executed(); n != 1 {
			t.Errorf("the card executed %d commands, want none after the lease's end", n)
		}
	})
}

// TestScriptFramesOutOfPlace end the tunnel, and nothing is executed.
func TestScriptFramesOutOfPlace(t *testing.T) {
	more := wire.Header{Type: wire.TypeScript, Flags: wire.FlagMore}
	at := func(seq uint64, h wire.Header) wire.Header { h.Seq = seq; return h }
	whole := part(selectCommand).Append(nil)
	for name, send := range map[string]func(b *backEnd){
		"another type": func(b *backEnd) {
			b.conn.Send(at(2, more), whole[:9])
			b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: 2}, selectCommand)
		},
		"another number": func(b *backEnd) { b.conn.Send(at(2, more), whole[:9]); b.conn.Send(at(3, more), whole[9:]) },
		"another flag": func(b *backEnd) {
			b.conn.Send(at(2, more), whole[:9])
			b.conn.Send(wire.Header{Type: wire.TypeScript, Flags: wire.FlagJudge, Seq: 2}, whole[9:])
		},
		"empty":          func(b *backEnd) { b.conn.Send(at(2, more), nil) },
		"a number ahead": func(b *backEnd) { b.conn.Send(at(9, wire.Header{Type: wire.TypeScript}), whole) },
		"malformed":      func(b *backEnd) { b.conn.Send(at(2, wire.Header{Type: wire.TypeScript}), whole[1:]) },
		"too much": func(b *backEnd) {
			for range 3 {
				b.conn.Send(at(2, more), make([]byte, 100000))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t)
			b := a.open("issuer")
			send(b)
			b.over(cardbroker.Invalid)
			if n := a.reader.Executed(); n != 0 {
				t.Errorf("the card executed %d commands", n)
			}
		})
	}
}

// TestScriptOutlivesItsAgent: the agent dies while the card has the command of a step. The next one tells which steps were
// executed, and that of this one nothing is known; nothing is executed again.
func TestScriptOutlivesItsAgent(t *testing.T) {
	folder := t.TempDir()
	journals, err := journal.OpenFolder(folder)
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(t)
	a.holder.Keep(journals)
	a.change = func(t *cardend.Tunnel) { t.Route = "0123456789abcdef" }
	b := a.tunnel("issuer")
	welcome, err := wire.ParseWelcome(b.ask(wire.TypeHello, wire.Hello{Share: cardbroker.ShareShared, Durability: cardbroker.DurabilityCrash}.Append(nil), wire.TypeWelcome))
	if err != nil {
		t.Fatal(err)
	}
	p := part(slices.Repeat([][]byte{selectCommand}, 5)...)
	gate := a.reader.Hold()
	b.sendScript(p, 0, 50)
	for range 2 {
		release := <-gate
		gate = a.reader.Hold()
		close(release)
	}
	release := <-gate // the third step is in the card
	left := t.TempDir()
	if err := os.CopyFS(left, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	defer func() { close(release); b.result() }()

	next := newAgent(t)
	if journals, err = journal.OpenFolder(left); err != nil {
		t.Fatal(err)
	}
	next.holder.Keep(journals)
	leases := next.holder.Left()
	if len(leases) != 1 {
		t.Fatalf("%d leases are left, want 1", len(leases))
	}
	tunnel := next.reader.Tunnel("issuer")
	tunnel.ID, tunnel.Route = cardend.TunnelID(welcome.Tunnel), "0123456789abcdef"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- next.holder.Restore(ctx, leases[0], tunnel) }()
	defer func() { cancel(); <-ended }()
	for len(next.leases.List()) == 0 {
		runtime.Gosched()
	}
	ticket, err := cardbroker.ParseTicket(string(welcome.Resume.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	taken, err := next.leases.Take(t.Context(), ticket.Secret, "issuer")
	if err != nil {
		t.Fatal(err)
	}
	near, far, _ := next.dial()
	if err := taken.Attach(t.Context(), near); err != nil {
		t.Fatal(err)
	}
	back := &backEnd{t: t, conn: far, seq: b.seq}
	far.Send(wire.Header{Type: wire.TypeResume, Seq: b.seq, Ack: b.seq - 1}, nil)
	back.againScript(p, 0, wire.MaxPayload)
	r := back.result()
	if r.Outcome != script.Indeterminate || r.Step != 2 || len(r.Steps) != 2 || !bytes.Equal(r.Steps[1].Data, selectCommand) || !r.Steps[1].Matched {
		t.Errorf("the result is %+v", r)
	}
	back.sendScript(part(selectCommand), 0, wire.MaxPayload)
	if r := back.result(); r.Outcome != script.Failed || r.Why.Reason != cardbroker.CardReset || next.reader.Executed() != 0 {
		t.Errorf("the next script: %+v; the card executed %d commands", r, next.reader.Executed())
	}
	p.First, p.Open = 5, false
	back.sendScript(p, 0, wire.MaxPayload)
	if r := back.result(); r.Outcome != script.Failed || r.Why.Reason != cardbroker.CardReset {
		t.Errorf("the next part: %+v", r)
	}
}

// TestScriptEndsWithItsBackEnd has a back end leave in the middle of a script: the card executed the rest, for minutes perhaps, and nobody
// else got the reader until then.
func TestScriptEndsWithItsBackEnd(t *testing.T) {
	for name, leave := range map[string]func(b *backEnd){
		"in order": func(b *backEnd) { b.conn.Shutdown(nil) },
		"by a frame that is out of turn": func(b *backEnd) {
			b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: b.seq + 1, Ack: b.seq}, selectCommand)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t)
			b := a.open("issuer")
			b.t = t
			commands := make([][]byte, 200)
			for i := range commands {
				commands[i] = selectCommand
			}
			gate := a.reader.Hold()
			b.sendScript(part(commands...), 0, wire.MaxPayload)
			release := <-gate
			leave(b)
			pause := 20 * time.Millisecond
			for range 5 { // while the card works on some more, the holder hears of it: at the latest in six seconds
				next := a.reader.Hold()
				close(release)
				select {
				case release = <-next:
				case <-b.done:
					release = nil
				}
				if release == nil {
					break
				}
				<-time.After(pause)
				pause *= 4
			}
			if release != nil {
				close(release)
				<-b.done
			}
			if n := a.reader.Executed(); n > 6 {
				t.Errorf("the card has executed %d commands of 200, want it to stop soon", n)
			}
			if list := a.leases.List(); len(list) != 0 {
				t.Errorf("leases = %+v, want none", list)
			}
		})
	}
}

// TestPingDuringScript: a back end that waits for its script hears that the holder is there.
func TestPingDuringScript(t *testing.T) {
	a := newAgent(t)
	b := a.open("issuer")
	commands := make([][]byte, 256)
	for i := range commands {
		commands[i] = selectCommand
	}
	gate := a.reader.Hold()
	b.sendScript(part(commands...), 0, wire.MaxPayload)
	release := <-gate
	b.conn.Send(wire.Header{Type: wire.TypePing}, make([]byte, 8))
	ponged := make(chan wire.Type, 1)
	go func() {
		for {
			h, _, err := b.conn.Receive()
			if err != nil || h.Type == wire.TypePong || h.Type == wire.TypeScriptResult {
				ponged <- h.Type
				return
			}
		}
	}()
	for range commands {
		next := a.reader.Hold()
		close(release)
		select {
		case kind := <-ponged:
			if kind != wire.TypePong {
				t.Fatalf("the back end got type %d, want its Pong", kind)
			}
			return // the end of the test ends the script
		case release = <-next:
		}
		<-time.After(time.Millisecond)
	}
	t.Error("a ping was not answered while the script ran")
}
