// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"encoding/binary"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Outcome says how a script has ended.
type Outcome uint8

// The outcomes.
const (
	OK            Outcome = iota // to its end
	Stopped                      // an answer was not what its step expects
	Refused                      // by the firewall; nothing was executed of the part
	Indeterminate                // a command may have run, and what became of it is not known
	Failed                       // for another reason; the last command that is not in Steps did not run
)

// String returns the word that `cardbroker reader run` prints.
func (o Outcome) String() string {
	if o > Failed {
		return "unknown"
	}
	return [...]string{"ok", "stopped", "refused", "indeterminate", "failed"}[o]
}

// Result says what has become of a script, or of one part of it.
type Result struct {
	Outcome Outcome
	Step    int               // which ended it, from 0; of no meaning with OK
	Why     *cardbroker.Error // nil with OK; CardUnexpected with Stopped
	Steps   []StepResult      // those that were executed, in their order
	Times   wire.Times        // at the card's end, of all steps
}

// StepResult is one step that was executed, with what was repeated and fetched for it.
type StepResult struct {
	Step    int             // from 0
	SW      apdu.StatusWord // the last one
	Data    []byte          // all of the answer, without status words; none of a sensitive step
	Matched bool            // it was what the step expects
	Cut     bool            // there were more data than MaxResponse, or than the limit of all answers
	Times   wire.Times      // in whole µs; Agent: from the step's beginning to its end
}

// MaxResult is the longest encoded result, in bytes.
const MaxResult = MaxAnswers + 64<<10

// The layout of a result: outcome u8, step u32, times, length u16 of the error, error as in a frame of type Error, count u16,
// and of each step: number u32, flags u8, status word u16, times, length u32 of the data, data.
const (
	flagMatched = 1 << 0
	flagCut     = 1 << 1
)

// Append appends the result's bytes.
func (r Result) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, byte(r.Outcome)), uint32(r.Step))
	dst = appendError(r.Times.Append(dst), r.Why)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(r.Steps)))
	for _, s := range r.Steps {
		dst = s.Append(dst)
	}
	return dst
}

// Append appends the bytes of one step.
func (s StepResult) Append(dst []byte) []byte {
	var flags byte
	if s.Matched {
		flags |= flagMatched
	}
	if s.Cut {
		flags |= flagCut
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.Step))
	dst = s.SW.Append(append(dst, flags))
	dst = s.Times.Append(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s.Data)))
	return append(dst, s.Data...)
}

func appendError(dst []byte, e *cardbroker.Error) []byte {
	if e == nil {
		return append(dst, 0, 0)
	}
	text := wire.AppendError(nil, e)
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(text))), text...)
}

// ParseResult reads a result. Data are part of p, not copies. One that is malformed or too long is Invalid.
func ParseResult(p []byte) (Result, error) {
	r := cursor{rest: p, what: "a script's result"}
	if len(p) > MaxResult {
		r.fail("it has %d bytes, want %d or fewer", len(p), MaxResult)
	}
	result := Result{Outcome: Outcome(r.u8()), Step: int(r.u32()), Times: r.times(), Why: r.error()}
	if result.Outcome > Failed || (result.Outcome == OK) != (result.Why == nil) {
		r.fail("outcome %d is not one, or has the reason of another", result.Outcome)
	}
	count := int(r.u16())
	if count > MaxSteps {
		r.fail("%d steps were executed, want %d or fewer", count, MaxSteps)
	}
	for range count {
		s := r.stepResult()
		if n := len(result.Steps); n > 0 && s.Step <= result.Steps[n-1].Step {
			r.fail("step %d comes after step %d", s.Step, result.Steps[n-1].Step)
		}
		if r.err != nil {
			break
		}
		result.Steps = append(result.Steps, s)
	}
	return result, r.end()
}

// ParseStepResult reads what [StepResult.Append] wrote. Data are part of p, not a copy.
func ParseStepResult(p []byte) (StepResult, error) {
	r := cursor{rest: p, what: "the result of a step"}
	s := r.stepResult()
	return s, r.end()
}

func (r *cursor) stepResult() StepResult {
	s := StepResult{Step: int(r.u32())}
	flags := r.u8()
	if flags&^(flagMatched|flagCut) != 0 {
		r.fail("unknown flags %02x", flags)
	}
	s.Matched, s.Cut = flags&flagMatched != 0, flags&flagCut != 0
	s.SW = apdu.StatusWord(r.u16())
	s.Times = r.times()
	s.Data = r.bytes(int(r.u32()))
	return s
}

func (r *cursor) times() wire.Times {
	micros := func() time.Duration { return time.Duration(r.u32()) * time.Microsecond }
	return wire.Times{Queue: micros(), Card: micros(), Agent: micros()}
}

func (r *cursor) error() *cardbroker.Error {
	text := r.bytes(int(r.u16()))
	if len(text) == 0 {
		return nil
	}
	e, err := wire.ParseError(text)
	if err != nil {
		r.fail("%v", err)
	}
	return e
}

// Verdicts are what the firewall says of each step of a part; nil: it may pass.
type Verdicts []*cardbroker.Error

// Append appends the verdicts' bytes: count u16, and of each the length u16 of the error, and the error.
func (v Verdicts) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(v)))
	for _, e := range v {
		dst = appendError(dst, e)
	}
	return dst
}

// ParseVerdicts reads verdicts. What is malformed or too long is Invalid.
func ParseVerdicts(p []byte) (Verdicts, error) {
	r := cursor{rest: p, what: "verdicts"}
	count := int(r.u16())
	if count > MaxSteps {
		r.fail("there are %d, want %d or fewer", count, MaxSteps)
	}
	var v Verdicts
	for range count {
		e := r.error()
		if r.err != nil {
			break
		}
		v = append(v, e)
	}
	return v, r.end()
}
