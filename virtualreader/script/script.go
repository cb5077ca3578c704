// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package script is a list of command APDUs that the holder of a card executes in one go, with what is to become of each
// answer: the text that people write ([Parse]), the bytes that travel ([Part], [Result]), and the engine ([State.Run]).
// A script only goes forward, so that it ends, and so that it can be judged before it runs. The package knows neither
// connections nor cards nor who may send what.
package script

import (
	"bytes"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// Limits. Those of a part hold for what is judged and executed in one round trip; a longer script has several parts.
const (
	MaxSteps     = 256              // of a part
	MaxPart      = 256 << 10        // bytes of an encoded part
	MaxAnswers   = 960 << 10        // bytes of data in the answers of a part
	DefaultLimit = time.Minute      // of time, for a part
	MaxLimit     = 10 * time.Minute // the same
	MaxScript    = 64 << 10         // steps of a whole script

	MaxRegisters = 16   // that are in use at a time
	MaxCapture   = 4096 // bytes of a register
	MaxName      = 32   // bytes of a label or of a register's name: A-Z a-z 0-9 _ . -
	maxMatches   = 16   // of a step
	maxCopies    = 16   // captures of a step, and inserts
)

// Script is a list of steps. The zero value of each field is what most scripts want.
type Script struct {
	Name  string        // for people; it does not travel
	Limit time.Duration // for each part, in whole ms; 0: DefaultLimit
	Steps []Step
}

// Step is one command and what is to become of its answer.
type Step struct {
	Label       string  // names the step for a Goto before it; "": no name
	Command     []byte  // a command APDU, 4 to 65,544 bytes
	Expect      []Match // the answer's status word has to be one of these; none: 9000
	OnMismatch  Action  // what follows if it is not, or if the answer is too short for a capture, or longer than MaxResponse
	Goto        string  // with ActionGoto: the label of a later step
	RawMore     bool    // 61xx is an answer as any other; false: GET RESPONSE fetches the rest
	RawLe       bool    // 6Cxx is an answer as any other; false: the command is sent once more, with the Le that it asks for
	Capture     []Capture
	Insert      []Insert
	MaxResponse int  // bytes of data that are wanted; what is over is dropped; 0: 65,536
	Sensitive   bool // the answer's data stay at the card's end: only captures see them
}

// Match is a set of status words: those that equal Value in the bits of Mask. Value has no other bits.
type Match struct{ Value, Mask uint16 }

// Action says how a script goes on after an answer that was not expected.
type Action uint8

// The actions.
const (
	ActionStop Action = iota
	ActionContinue
	ActionGoto
)

// Capture copies a part of an answer's data into a register. It is done for expected answers only.
type Capture struct {
	Register string
	Offset   int // in the answer's data
	Length   int // 1 to MaxCapture bytes
}

// Insert writes a register over a part of the command's data field. The lengths of both are the same, so that the
// command's header and length are known before it is executed.
type Insert struct {
	Register string
	Offset   int // in the data field
	Length   int // of the register
}

// Matches says whether a status word is one that the step expects.
func (s *Step) Matches(sw apdu.StatusWord) bool {
	for _, m := range s.Expect {
		if uint16(sw)&m.Mask == m.Value {
			return true
		}
	}
	return len(s.Expect) == 0 && sw == apdu.Success
}

// maxResponse is how many bytes of data are wanted.
func (s *Step) maxResponse() int {
	if s.MaxResponse == 0 {
		return apdu.MaxLe
	}
	return s.MaxResponse
}

// limit is the script's time for a part.
func (s *Script) limit() time.Duration {
	if s.Limit == 0 {
		return DefaultLimit
	}
	return s.Limit
}

// fault is what is wrong with a script, and where.
type fault struct {
	step  int    // counted from 0; -1: the script itself
	field string // as the text names it
	text  string
}

func (f *fault) path() string {
	switch {
	case f.step < 0:
		return f.field
	case f.field == "":
		return fmt.Sprintf("steps[%d]", f.step)
	}
	return fmt.Sprintf("steps[%d].%s", f.step, f.field)
}

// err returns the fault as an error that is safe to show: it names no byte of a command.
func (f *fault) err() error {
	if f == nil {
		return nil
	}
	return cardbroker.Errorf(cardbroker.Invalid, "%s: %s", f.path(), f.text)
}

// Check says whether a whole script can be run. It is Invalid, and names the place.
func (s Script) Check() error { return s.check().err() }

func (s Script) check() *fault {
	switch {
	case s.Limit < 0 || s.Limit > MaxLimit || s.Limit%time.Millisecond != 0:
		return &fault{-1, "limit", fmt.Sprintf("want whole milliseconds up to %v", MaxLimit)}
	case len(s.Steps) == 0:
		return &fault{-1, "steps", "want one or more"}
	case len(s.Steps) > MaxScript:
		return &fault{-1, "steps", fmt.Sprintf("there are %d, want %d or fewer", len(s.Steps), MaxScript)}
	}
	labels := make(map[string]int)
	for i := range s.Steps {
		if f := s.Steps[i].check(i); f != nil {
			return f
		}
		if label := s.Steps[i].Label; label != "" {
			if before, ok := labels[label]; ok {
				return &fault{i, "label", fmt.Sprintf("%q is the label of steps[%d], too", label, before)}
			}
			labels[label] = i
		}
	}
	registers := make(map[string]int) // their lengths
	for i := range s.Steps {
		if f := s.Steps[i].related(i, labels, registers); f != nil {
			return f
		}
	}
	return nil
}

// related checks what a step says of others: where it goes on, and what was captured before it.
func (s *Step) related(at int, labels, registers map[string]int) *fault {
	if s.OnMismatch == ActionGoto {
		if to, ok := labels[s.Goto]; !ok {
			return &fault{at, "on_mismatch", fmt.Sprintf("no step has the label %q", s.Goto)}
		} else if to <= at {
			return &fault{at, "on_mismatch", fmt.Sprintf("label %q is not after this step", s.Goto)}
		}
	}
	for i, n := range s.Insert {
		field := fmt.Sprintf("insert[%d]", i)
		if length, ok := registers[n.Register]; !ok {
			return &fault{at, field, fmt.Sprintf("no step before this one captures %q", n.Register)}
		} else if length != n.Length {
			return &fault{at, field, fmt.Sprintf("register %q has %d bytes, not %d", n.Register, length, n.Length)}
		}
	}
	for i, c := range s.Capture {
		field := fmt.Sprintf("capture[%d]", i)
		if length, ok := registers[c.Register]; ok && length != c.Length {
			return &fault{at, field, fmt.Sprintf("register %q has %d bytes before, want as many", c.Register, length)}
		}
		if registers[c.Register] = c.Length; len(registers) > MaxRegisters {
			return &fault{at, field, fmt.Sprintf("there are more than %d registers", MaxRegisters)}
		}
	}
	return nil
}

// check checks a step by itself.
func (s *Step) check(at int) *fault {
	wrong := func(field, format string, args ...any) *fault { return &fault{at, field, fmt.Sprintf(format, args...)} }
	switch {
	case s.Label != "" && !isName(s.Label):
		return wrong("label", "%s", nameRule)
	case len(s.Expect) > maxMatches:
		return wrong("expect", "want %d or fewer", maxMatches)
	case s.OnMismatch > ActionGoto, (s.OnMismatch == ActionGoto) != (s.Goto != ""):
		return wrong("on_mismatch", "want stop, continue or goto LABEL")
	case s.Goto != "" && !isName(s.Goto):
		return wrong("on_mismatch", "a label: %s", nameRule)
	case s.MaxResponse < 0 || s.MaxResponse > apdu.MaxLe:
		return wrong("max_response", "want 1 to %d bytes", apdu.MaxLe)
	case len(s.Capture) > maxCopies:
		return wrong("capture", "want %d or fewer", maxCopies)
	}
	for i, m := range s.Expect {
		if m.Value&^m.Mask != 0 {
			return wrong(fmt.Sprintf("expect[%d]", i), "the value has bits that the mask has not")
		}
	}
	for i, c := range s.Capture {
		field := fmt.Sprintf("capture[%d]", i)
		switch {
		case !isName(c.Register):
			return wrong(field, "a register: %s", nameRule)
		case c.Length < 1 || c.Length > MaxCapture:
			return wrong(field, "length: want 1 to %d bytes", MaxCapture)
		case c.Offset < 0 || c.Offset+c.Length > s.maxResponse():
			return wrong(field, "it ends behind max_response, %d bytes", s.maxResponse())
		}
	}
	return s.checkCommand(at)
}

// insSelect is SELECT, ISO/IEC 7816-4 §11.2.2.
const insSelect = 0xA4

// checkCommand checks the command, and that what is inserted leaves its header, its length and, for SELECT, its data alone:
// who judges a script needs them.
func (s *Step) checkCommand(at int) *fault {
	command, err := apdu.ParseCommand(s.Command)
	if err != nil {
		return &fault{at, "command", err.Error()}
	}
	switch {
	case len(s.Insert) > maxCopies:
		return &fault{at, "insert", fmt.Sprintf("want %d or fewer", maxCopies)}
	case len(s.Insert) > 0 && command.INS == insSelect:
		return &fault{at, "insert", "what SELECT selects has to be known before"}
	}
	for i, n := range s.Insert {
		field := fmt.Sprintf("insert[%d]", i)
		switch {
		case !isName(n.Register):
			return &fault{at, field, "a register: " + nameRule}
		case n.Length < 1 || n.Length > MaxCapture:
			return &fault{at, field, fmt.Sprintf("want 1 to %d bytes of a register that a step before this one captures", MaxCapture)}
		case n.Offset < 0 || n.Offset+n.Length > len(command.Data):
			return &fault{at, field, fmt.Sprintf("it ends behind the data field, %d bytes", len(command.Data))}
		}
	}
	return nil
}

const nameRule = "want 1 to 32 of A-Z a-z 0-9 _ . -"

func isName(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for _, b := range []byte(s) {
		letter := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && (b < '0' || b > '9') && bytes.IndexByte([]byte("_.-"), b) < 0 {
			return false
		}
	}
	return true
}
