// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Asker asks the user of the session. Any number of goroutines may call it.
type Asker interface {
	// AskPIN returns an answer to each part of q.Ask. When ctx ends, whatever the user sees of the question goes away before
	// AskPIN returns. Errors: PINCanceled (the user does not want to), Timeout (ctx had a deadline), ReaderBusy (he is being
	// asked something else), Unavailable (he cannot be asked).
	AskPIN(ctx context.Context, q Question) ([]cardbroker.Secret, error)
}

// Question is what a user is asked for.
type Question struct {
	Action   Action
	Tenant   cardbroker.Tenant
	Origin   cardbroker.Origin // where a web page asks; both empty: a program of the user's own
	Reader   string            // its name
	Which    string            // PIN of the card's, in words; empty: the only one that is spoken of
	Ask      []Part            // in this order
	Min, Max int               // characters of each
	Digits   bool              // they are digits; else printable ASCII
	Problem  Problem
	Tries    int // with ProblemWrong and ProblemFew: how often it may still be wrong; RetriesUnknown
}

// Action is what a PIN is asked for.
type Action string

// The actions.
const (
	ActionVerify  Action = "verify"
	ActionModify  Action = "modify"
	ActionUnblock Action = "unblock"
)

// Part is one thing to enter.
type Part string

// The parts of a question.
const (
	PartPIN    Part = "pin"    // the PIN as it is
	PartPUK    Part = "puk"    // the code that unblocks
	PartNew    Part = "new"    // a new PIN
	PartRepeat Part = "repeat" // the new PIN again
)

// Problem is why the same is asked again.
type Problem string

// The problems.
const (
	ProblemWrong     Problem = "wrong"     // the card says so; it was another question
	ProblemLength    Problem = "length"    // too short, too long, or other characters than digits
	ProblemDifferent Problem = "different" // the new PIN and its repetition
	ProblemFew       Problem = "few"       // no problem yet: so few tries are left that a web page may not spend one
)

const (
	askLimit    = time.Minute // from a question to the end of all its repetitions
	maxAsks     = 3           // of one question
	maxRefusals = 3           // in one tunnel: whoever has said no so often is asked no more
)

// pinPad lets the user enter a PIN into the command of a back end, sends that to the card and answers with the status
// word alone, PC/SC Part 10 §2.5.
func (e *exchange) pinPad(ctx context.Context, input []byte, parse func([]byte) (*pinpad.Entry, error)) error {
	entry, err := parse(input)
	if err != nil {
		return err
	}
	if err := e.firewall.CheckEntered(entry.Header()); err != nil {
		return err
	}
	switch {
	case e.tunnel.Asker == nil:
		return cardbroker.Errorf(cardbroker.PINCanceled, "the agent has no prompt to ask for a PIN with: install zenity or kdialog and start it on a display, or name prompt.command in machine policy")
	case e.before == commandChained: // a careless card takes the PIN for the rest of that
		return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, "a chain of commands has not ended: no PIN may follow it")
	case e.refusals >= maxRefusals:
		return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, "the user was asked for a PIN and did not enter one %d times", maxRefusals)
	}
	if err := e.need(ctx); err != nil {
		return err
	}
	if e.tunnel.Present != nil && e.tunnel.Present() == nil { // the connection does not know yet
		return e.failed(cardbroker.Errorf(cardbroker.CardRemoved, "the card was removed"))
	}
	sw, err := e.enter(ctx, entry)
	if err != nil {
		return err
	}
	e.kind = wire.TypeControlled
	e.payload = binary.BigEndian.AppendUint16(e.payload, uint16(sw))
	return nil
}

// enter has a PIN entered and the command executed.
func (e *exchange) enter(ctx context.Context, entry *pinpad.Entry) (apdu.StatusWord, error) {
	q := NewQuestion(entry)
	q.Tenant, q.Reader = e.tunnel.Tenant, e.tunnel.Reader
	if w := e.wrong; w != nil && entry.Old && w.reference == entry.Reference() && w.unblocks == entry.Unblocks() {
		q.Problem, q.Tries = ProblemWrong, w.left
	}
	ask := func(ctx context.Context, q Question) ([]cardbroker.Secret, error) {
		pins, err := e.ask(ctx, q)
		switch cardbroker.ReasonOf(err) {
		case "":
			e.refusals = 0
		case cardbroker.PINCanceled, cardbroker.Timeout:
			e.refusals++
		}
		return pins, err
	}
	send := func(command []byte) (apdu.StatusWord, error) { return e.submit(ctx, entry, command) }
	return Enter(e.lease, entry, q, ask, send)
}

// Enter is our own pin pad: it has the user asked for what an entry wants until that fits, and the command sent that it makes,
// which is overwritten then. What the user did not do is a status word of the pin pad's. Errors: those of ask and send; PINCanceled if the
// user cannot be asked.
func Enter(ctx context.Context, entry *pinpad.Entry, q Question, ask func(context.Context, Question) ([]cardbroker.Secret, error),
	send func(command []byte) (apdu.StatusWord, error)) (apdu.StatusWord, error) {
	timeout := askLimit
	if entry.Timeout > 0 {
		timeout = min(timeout, entry.Timeout)
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for range maxAsks {
		pins, err := ask(limited, q)
		switch cardbroker.ReasonOf(err) {
		case "":
		case cardbroker.PINCanceled:
			return pinpad.Canceled, nil
		case cardbroker.Timeout:
			return pinpad.TimedOut, nil
		case cardbroker.Unavailable: // to a back end this would say that the reader is gone
			return 0, cardbroker.Wrapf(err, cardbroker.PINCanceled, "the user was not asked: %s", shown(err).Message)
		default:
			return 0, err
		}
		q.Tries = 0
		if q.Problem = problem(entry, pins); q.Problem == "" {
			return submit(entry, pins, send)
		}
		wipe(pins)
	}
	if q.Problem == ProblemDifferent {
		return pinpad.Different, nil
	}
	return pinpad.WrongLength, nil
}

// NewQuestion is what the user is asked for an entry; who asks, and for which reader, is to be added.
func NewQuestion(entry *pinpad.Entry) Question {
	q := Question{Which: fmt.Sprintf("PIN %02X", entry.Reference()), Min: entry.Min, Max: entry.Max, Digits: entry.Digits}
	first := PartPIN
	switch {
	case !entry.New:
		q.Action = ActionVerify
	case entry.Unblocks():
		q.Action, first = ActionUnblock, PartPUK
	default:
		q.Action = ActionModify
	}
	if entry.Old {
		q.Ask = append(q.Ask, first)
	}
	if entry.New {
		q.Ask = append(q.Ask, PartNew)
	}
	if entry.Repeat {
		q.Ask = append(q.Ask, PartRepeat)
	}
	return q
}

// problem says what is wrong with what was entered.
func problem(entry *pinpad.Entry, pins []cardbroker.Secret) Problem {
	for _, pin := range pins {
		if !entry.Fits(pin.Reveal()) {
			return ProblemLength
		}
	}
	if n := len(pins); entry.Repeat && !bytes.Equal(pins[n-2].Reveal(), pins[n-1].Reveal()) {
		return ProblemDifferent
	}
	return ""
}

// submit puts the PINs into the command, and has it sent.
func submit(entry *pinpad.Entry, pins []cardbroker.Secret, send func([]byte) (apdu.StatusWord, error)) (apdu.StatusWord, error) {
	defer wipe(pins)
	var old, new []byte
	rest := pins
	if entry.Old {
		old, rest = rest[0].Reveal(), rest[1:]
	}
	if entry.New {
		new = rest[0].Reveal()
	}
	command := entry.Command(old, new)
	defer clear(command)
	return send(command)
}

// submit sends the command with the PINs to the card.
func (e *exchange) submit(ctx context.Context, entry *pinpad.Entry, command []byte) (apdu.StatusWord, error) {
	if err := e.executing(); err != nil {
		return 0, err
	}
	e.before = commandPIN
	response, _, err := e.card.Transmit(ctx, nil, command)
	defer clear(response)
	e.firewall.Saw(command, response)
	if err != nil {
		return 0, e.failed(err)
	}
	n := len(response)
	if n < apdu.MinResponse {
		return 0, fmt.Errorf("a response APDU has %d bytes", n)
	}
	sw := apdu.StatusWord(binary.BigEndian.Uint16(response[n-2:]))
	e.wrong = nil
	if left, ok := sw.Retries(); ok {
		e.wrong = &wrongPIN{reference: entry.Reference(), unblocks: entry.Unblocks(), left: left}
	}
	return sw, nil
}

// wrongPIN is what the card said of the PIN that was entered last. The program that had it entered is told, but it is
// elsewhere: the user learns of it when he is asked again.
type wrongPIN struct {
	reference byte
	unblocks  bool // it was the code that unblocks
	left      int
}

func wipe(pins []cardbroker.Secret) {
	for _, pin := range pins {
		clear(pin.Reveal())
	}
}

// tunnelEnd is the end of a tunnel while its user was asked. It does not unwrap: that a lease has expired is no user who took
// too long.
type tunnelEnd struct{ error }

// ask asks the user, and meanwhile goes on listening: whoever does not wait for the answer any more does not get it, and
// the question goes away. It returns a tunnelEnd when the lease or the tunnel has ended.
func (e *exchange) ask(ctx context.Context, q Question) ([]cardbroker.Secret, error) {
	type answer struct {
		pins []cardbroker.Secret
		err  error
	}
	group := run.New(ctx)
	answers := make(chan answer, 1)
	group.Go("ask", func(ctx context.Context) error {
		pins, err := e.tunnel.Asker.AskPIN(ctx, q)
		if err == nil && len(pins) != len(q.Ask) {
			err = cardbroker.Errorf(cardbroker.Unavailable, "the prompt for a PIN did not work")
		}
		answers <- answer{pins, err}
		return nil
	})
	var ended error
	for ended == nil {
		select {
		case a := <-answers:
			group.Stop()
			if ended = context.Cause(e.lease); ended == nil && a.err == nil {
				return a.pins, nil
			}
			wipe(a.pins)
			if ended == nil {
				return nil, a.err
			}
			return nil, tunnelEnd{ended}
		case r := <-e.conn.Next():
			ended = e.interrupted(e.conn.take(r))
		}
	}
	group.Stop()
	wipe((<-answers).pins)
	return nil, tunnelEnd{ended}
}

// interrupted takes a frame that comes while the user is asked: a Ping, or the question itself again, which is answered
// when it is. Anything else ends the tunnel.
func (e *exchange) interrupted(r received) error {
	switch {
	case r.err != nil:
		return r.err
	case r.head.Type == wire.TypePing && r.head.Seq == 0 && r.head.Reader == 0:
		return e.pong(r.payload)
	case r.head.Seq != e.seq || r.head.Reader != 0 || e.repeats == maxRepeats:
		return invalid("a frame has seq %d, but seq %d is not answered yet", r.head.Seq, e.seq)
	}
	e.repeats++
	return e.same(r.head.Type, r.payload)
}

// maxRepeats is how often a frame may come again before it is answered.
const maxRepeats = 8
