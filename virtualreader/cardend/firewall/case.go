// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"errors"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// Case is a test of rules, as it stands beside them: commands in their order, and what becomes of each.
type Case struct {
	Name   string // for people
	Place  string // in the file
	Select []byte // the card has confirmed that this AID is selected, on the basic channel; empty: not known
	Steps  []CaseStep
}

// CaseStep is one command of a [Case].
type CaseStep struct {
	Command []byte
	SW      apdu.StatusWord // that the card answers, if it gets the command; 0: 9000
	Allow   bool            // what the firewall should say
	Rule    string          // which rule should: the end of its place, such as rules[2], default, or Fixed; empty: any
}

// Try runs a case for a tenant of that PIN mode. An error is Invalid and says which command had another verdict; a command that is no
// APDU is refused.
func (r *Rules) Try(pins cardbroker.PINMode, test Case) error {
	j := New(r, pins)
	j.state.apps[0] = named(test.Select)
	for i, step := range test.Steps {
		place, err := j.Explain(step.Command)
		verdict := "allowed by " + place
		if err != nil {
			verdict = err.Error()
			if said, ok := errors.AsType[*cardbroker.Error](err); ok {
				verdict = said.Message
			}
		}
		switch {
		case (err == nil) != step.Allow:
			return failed(test, i, verdict, map[bool]string{true: "allow", false: "deny"}[step.Allow])
		case step.Rule != "" && place != step.Rule && !strings.HasSuffix(place, "."+step.Rule):
			return failed(test, i, verdict, step.Rule)
		}
		if err == nil {
			sw := step.SW
			if sw == 0 {
				sw = apdu.Success
			}
			j.Saw(step.Command, sw.Append(nil))
		}
	}
	return nil
}

func failed(test Case, i int, verdict, want string) error {
	name := ""
	if test.Name != "" {
		name = " (" + test.Name + ")"
	}
	return cardbroker.Errorf(cardbroker.Invalid, "%s%s: command %d: %s; want %s", test.Place, name, i, verdict, want)
}
