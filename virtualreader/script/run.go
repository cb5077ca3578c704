// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Holder is what a script runs on. Its functions are called one at a time, by whoever calls [State.Run].
type Holder struct {
	// Transmit sends one command APDU of a step to the card and appends the response APDU to dst; card is the time that the card
	// took. A step has more than one where something is fetched or repeated for it. An error that is Indeterminate says that
	// the command may have run, any other that it has not.
	Transmit func(step int, dst, command []byte) (response []byte, card time.Duration, err error)

	// Executed is told what has become of a step, before the next; its error ends the script. nil: nobody is told.
	Executed func(StepResult) error

	// Progress is told how many steps of the part are behind it, at most each ProgressEvery. nil: nobody is told.
	Progress func(steps int)
}

// State is what the parts of a script leave to each other: registers, and a label that was not reached yet. One goroutine
// uses it. The zero value is before the first part.
type State struct {
	registers map[string][]byte
	pending   string // the label of the step to go on with
	next      int    // number of the step that the next part begins with
	open      bool   // a next part is awaited
}

// Follows says whether a part is the one that is awaited: the first of a script, or the one after the last.
func (s *State) Follows(p Part) bool {
	if p.First == 0 {
		return true
	}
	return s.open && p.First == s.next
}

// Pending returns the label of the step that the next part goes on with; "": its first.
func (s *State) Pending() string { return s.pending }

// Wipe forgets everything.
func (s *State) Wipe() {
	for _, data := range s.registers {
		clear(data)
	}
	*s = State{}
}

// maxRounds bounds how often more is fetched for one step: 64 KiB in answers of 256 bytes, twice.
const maxRounds = 512

// ProgressEvery is the least time between two calls of Progress.
const ProgressEvery = 250 * time.Millisecond

// Run executes a part that [State.Follows] accepts and leaves s to the next one; after the last, and after one that did not
// end well, s is empty. Before each step, ctx has to live, whose cause then is why the script failed; a command that the
// card has is not stopped.
func (s *State) Run(ctx context.Context, p Part, h Holder) Result {
	if p.First == 0 {
		s.Wipe()
	}
	if s.registers == nil {
		s.registers = make(map[string][]byte)
	}
	r := runner{Holder: h, state: s, part: p, start: time.Now(), command: make([]byte, 0, p.longest()+maxLeSize)}
	defer r.wipe()
	told := r.start
	for i := range p.Steps {
		step := &p.Steps[i]
		if s.pending != "" && step.Label != s.pending {
			continue
		}
		s.pending = ""
		if !r.step(ctx, i) {
			break
		}
		if now := time.Now(); h.Progress != nil && now.Sub(told) >= ProgressEvery {
			told = now
			h.Progress(i + 1)
		}
	}
	if r.result.Why == nil && s.pending != "" && !p.Open {
		r.end(Failed, len(p.Steps)-1, invalid("no later step has the label %q", s.pending))
	}
	r.result.Times.Agent = time.Since(r.start)
	if s.next, s.open = p.First+len(p.Steps), p.Open; !p.Open || r.result.Outcome != OK {
		s.Wipe()
	}
	return r.result
}

// runner is one part that runs.
type runner struct {
	Holder
	state    *State
	part     Part
	start    time.Time
	result   Result
	answers  int    // bytes of data in it
	command  []byte // the buffers, reused from step to step; this one never grows: what it left behind, nobody would wipe
	response []byte
}

const maxLeSize = 3 // by so many bytes a command grows that is sent once more with another Le

// longest is the length of the longest command of a part's steps, in bytes.
func (p Part) longest() (n int) {
	for i := range p.Steps {
		n = max(n, len(p.Steps[i].Command))
	}
	return n
}

func (r *runner) wipe() {
	clear(r.command[:cap(r.command)])
	clear(r.response[:cap(r.response)])
}

// end notes how the script ended, at step i of the part.
func (r *runner) end(outcome Outcome, i int, why error) bool {
	r.result.Outcome, r.result.Step, r.result.Why = outcome, r.part.First+i, shown(why)
	return false
}

// shown returns what the back end may see of an error.
func shown(err error) *cardbroker.Error {
	reason := cardbroker.ReasonOf(err)
	if e, ok := errors.AsType[*cardbroker.Error](err); ok && reason != cardbroker.Internal {
		return e
	}
	return cardbroker.Errorf(reason, "the holder of the card failed")
}

// step executes step i of the part, and says whether the script goes on.
func (r *runner) step(ctx context.Context, i int) bool {
	step := &r.part.Steps[i]
	if why := context.Cause(ctx); why != nil {
		return r.end(Failed, i, why)
	}
	if time.Since(r.start) >= r.part.Limit {
		return r.end(Failed, i, cardbroker.Errorf(cardbroker.Timeout, "the script's time, %v, was over before step %d", r.part.Limit, r.part.First+i+1))
	}
	if err := r.prepare(step); err != nil {
		return r.end(Failed, i, err)
	}
	e := execution{runner: r, step: step, number: r.part.First + i, start: time.Now()}
	err := e.gather(ctx)
	if err == nil {
		return r.settle(i, &e)
	}
	if _, more := e.sw.More(); more { // the command was executed; what failed is to fetch its answer
		e.cut = true
		r.note(&e, false)
	}
	if cardbroker.ReasonOf(err) == cardbroker.Indeterminate {
		return r.end(Indeterminate, i, err)
	}
	return r.end(Failed, i, err)
}

// prepare writes the step's command into the buffer, with the registers that are inserted.
func (r *runner) prepare(step *Step) error {
	r.command = append(r.command[:0], step.Command...)
	if len(step.Insert) == 0 {
		return nil
	}
	c, err := apdu.ParseCommand(r.command) // its data are part of the buffer
	if err != nil {
		return invalid("%v", err)
	}
	for _, n := range step.Insert {
		data := r.state.registers[n.Register]
		if len(data) != n.Length || n.Offset+n.Length > len(c.Data) {
			return cardbroker.Errorf(cardbroker.CardUnexpected, "register %q was not filled with %d bytes before it is inserted", n.Register, n.Length)
		}
		copy(c.Data[n.Offset:], data)
	}
	return nil
}

// settle takes the answer of step i: it fills registers and says whether the script goes on.
func (r *runner) settle(i int, e *execution) bool {
	step := e.step
	matched := step.Matches(e.sw) && !e.cut
	for _, c := range step.Capture {
		matched = matched && c.Offset+c.Length <= len(e.data)
	}
	if matched {
		for _, c := range step.Capture {
			r.state.set(c.Register, e.data[c.Offset:c.Offset+c.Length])
		}
	}
	why := e.unexpected() // before the data are gone
	if err := r.note(e, matched); err != nil {
		return r.end(Failed, i, err)
	}
	switch {
	case matched || step.OnMismatch == ActionContinue:
		return true
	case step.OnMismatch == ActionGoto:
		r.state.pending = step.Goto
		return true
	}
	return r.end(Stopped, i, why)
}

// note adds a step to the result. It is TooLarge where its data are too much; they are dropped then.
func (r *runner) note(e *execution, matched bool) error {
	result := StepResult{Step: e.number, SW: e.sw, Matched: matched, Cut: e.cut, Times: e.times}
	full := !e.step.Sensitive && r.answers+len(e.data) > MaxAnswers
	switch {
	case e.step.Sensitive:
		clear(e.data)
	case full:
		result.Cut = true
	default:
		result.Data = e.data
		r.answers += len(e.data)
	}
	r.result.Steps = append(r.result.Steps, result)
	r.result.Times.Queue += e.times.Queue
	r.result.Times.Card += e.times.Card
	if r.Executed != nil {
		if err := r.Executed(result); err != nil {
			return err
		}
	}
	if full {
		return cardbroker.Errorf(cardbroker.TooLarge, "the answers have more than %d bytes", MaxAnswers)
	}
	return nil
}

// unexpected says what was wrong with the answer.
func (e *execution) unexpected() error {
	but := ""
	switch {
	case e.cut:
		but = fmt.Sprintf(" with more than %d bytes", e.step.maxResponse())
	case e.step.Matches(e.sw):
		but = fmt.Sprintf(" with %d bytes, too few for a capture", len(e.data))
	}
	return cardbroker.Errorf(cardbroker.CardUnexpected, "step %s was answered %s (%s)%s, want %s",
		e.step.name(e.number), e.sw, e.sw.Words(), but, e.step.wanted())
}

// name says which step it is, for people.
func (s *Step) name(number int) string {
	if s.Label == "" {
		return fmt.Sprint(number + 1)
	}
	return fmt.Sprintf("%d (%s)", number+1, s.Label)
}

// wanted lists the status words that a step expects.
func (s *Step) wanted() string {
	if len(s.Expect) == 0 {
		return apdu.Success.String()
	}
	words := make([]string, len(s.Expect))
	for i, m := range s.Expect {
		words[i] = m.String()
	}
	return strings.Join(words, " or ")
}

// set fills a register; a script with too many is not one that Check accepted, and loses what is over.
func (s *State) set(register string, data []byte) {
	old, ok := s.registers[register]
	if !ok && len(s.registers) >= MaxRegisters {
		return
	}
	clear(old)
	s.registers[register] = slices.Clone(data)
}

// execution is one step that runs.
type execution struct {
	*runner
	step   *Step
	number int
	start  time.Time
	times  wire.Times
	sw     apdu.StatusWord // of the last answer; 0: there was none
	data   []byte          // of all answers so far
	cut    bool            // there were more
}

// gather sends the prepared command and fetches all of its answer: 6Cxx sends it once more with the Le that the card asks
// for, 61xx fetches the rest on the same logical channel, as far as the step wants that and ctx lives.
func (e *execution) gather(ctx context.Context) error {
	corrected := false
	for round := range maxRounds {
		if why := context.Cause(ctx); round > 0 && why != nil {
			return why
		}
		sent := time.Now()
		response, card, err := e.Transmit(e.number, e.response[:0], e.command)
		if err != nil {
			return err
		}
		end := time.Now()
		e.response = response
		e.times.Card += card
		e.times.Queue += max(0, end.Sub(sent)-card)
		e.times.Agent = end.Sub(e.start)
		if len(response) < apdu.MinResponse || len(response) > apdu.MaxResponse {
			return cardbroker.Errorf(cardbroker.CardMute, "step %d was answered with %d bytes, which is no answer", e.number+1, len(response))
		}
		n := len(response) - 2
		e.sw = apdu.StatusWord(binary.BigEndian.Uint16(response[n:]))
		if le, ok := e.sw.ExpectedLe(); ok && !corrected && !e.step.RawLe {
			corrected = true
			if err := e.again(le); err != nil {
				return err
			}
			continue
		}
		e.keep(response[:n])
		more, ok := e.sw.More()
		if !ok || e.step.RawMore || e.cut {
			return nil
		}
		if e.command, err = apdu.GetResponse(e.step.Command[0], more).Append(e.command[:0]); err != nil {
			return err
		}
		corrected = false
	}
	return cardbroker.Errorf(cardbroker.CardMute, "step %d: the card says again and again that there is more", e.number+1)
}

// again prepares the command that was just sent with another Le.
func (e *execution) again(le int) error {
	c, err := apdu.ParseCommand(e.command)
	if err != nil {
		return invalid("%v", err)
	}
	data := slices.Clone(c.Data) // Append writes over the buffer
	defer clear(data)
	c.Data, c.Le = data, le
	e.command, err = c.Append(e.command[:0])
	return err
}

// keep keeps the data of an answer, as many as the step wants.
func (e *execution) keep(data []byte) {
	if room := e.step.maxResponse() - len(e.data); len(data) > room {
		data, e.cut = data[:room], true
	}
	e.data = append(e.data, data...)
}
