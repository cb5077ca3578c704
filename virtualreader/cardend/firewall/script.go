// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"slices"

	"github.com/cardbroker/cardbroker"
)

// Step is one command of a script.
type Step struct {
	Command []byte // as it will be sent; what is not known yet may be anything, but its length is right
	Known   int    // so many bytes of it are known, from the first; the header always
	OK      bool   // the next step follows only a status word 9000, 61xx, 62xx or 63xx
	Else    int    // which step follows one that was not expected, counted from 0: a later one, or Stop
}

// Stop in Step.Else ends the script.
const Stop = -1

// maxStates is how many states of the card a step is judged under, one by one; if more are possible, those that are left over count as
// one of which only is known what they have in common.
const maxStates = 8

// Script judges the steps of a script before any of them runs, from where the card is now; from is the step that it begins with, those
// before that do not run. It returns the verdict on each: nil, or what Check would say. A step is allowed only if it is in every state
// that the card may be in when its turn comes, whatever the card answers until then. GET RESPONSE as a step of its own is held
// against the rules. An Else that is neither a later step nor the end is Invalid. The judge itself stays as it is: every
// command is checked once more when it runs.
func (j *Judge) Script(steps []Step, from int) []error {
	return j.script([]state{j.state}, steps, from)
}

// ScriptOn is Script for steps that would come after those that were judged last, which have not run.
func (j *Judge) ScriptOn(steps []Step) []error {
	start := j.ahead
	if len(start) == 0 {
		start = []state{{}}
	}
	return j.script(start, steps, 0)
}

func (j *Judge) script(start []state, steps []Step, from int) []error {
	verdicts := make([]error, len(steps))
	before := make([][]state, len(steps)+1) // the states in which each step may find the card
	before[min(from, len(steps))] = start
	for i, step := range steps {
		c, err := parse(step.Command, min(step.Known, len(step.Command)))
		if err == nil && step.Else != Stop && (step.Else <= i || step.Else > len(steps)) {
			err = cardbroker.Errorf(cardbroker.Invalid, "step %d goes on with step %d, want a later one", i, step.Else)
		}
		if err == nil {
			err = j.fixed(&c)
		}
		for _, s := range before[i] {
			if err == nil {
				_, err = j.judge(&c, &s)
			}
			done, undone := s, s
			done.after(&c, succeeded, -1)
			undone.after(&c, anything, -1) // who is allowed what here, is so too where the command succeeded
			if step.OK {
				before[i+1] = may(before[i+1], done)
			} else {
				before[i+1] = may(before[i+1], undone)
			}
			if step.Else > i && step.Else <= len(steps) {
				before[step.Else] = may(before[step.Else], undone)
			}
		}
		before[i] = nil
		verdicts[i] = err
	}
	j.ahead = before[len(steps)]
	return verdicts
}

// may adds a state to those that are possible.
func may(states []state, s state) []state {
	switch {
	case slices.Contains(states, s):
	case len(states) < maxStates:
		states = append(states, s)
	default:
		states[maxStates-1].merge(&s)
	}
	return states
}
