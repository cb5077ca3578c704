// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/internal/trace"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/script"
)

// recorder writes the trace that --record asks for; without, it does nothing.
type recorder struct{ to *trace.Writer }

func newRecorder(path string) (recorder, error) {
	if path == "" {
		return recorder{}, nil
	}
	to, err := trace.Create(path)
	return recorder{to: to}, err
}

// begin connects to the card, to say which it is.
func (r recorder) begin(ctx context.Context, tunnel *virtualreader.Tunnel) error {
	if r.to == nil {
		return nil
	}
	card, err := tunnel.Connect(ctx, cardbroker.ShareShared)
	if err != nil {
		return err
	}
	return r.to.Begin(tunnel.Reader, card)
}

// command writes one command and its answer, or why there is none.
func (r recorder) command(sent time.Time, command []byte, answer virtualreader.Answer, failed error) error {
	if r.to == nil {
		return nil
	}
	entry := trace.Entry{Time: sent, Command: command, Card: answer.Card, Total: answer.Agent}
	if response, err := apdu.ParseResponse(answer.Response); err == nil && failed == nil {
		entry.Data, entry.SW = response.Data, response.SW
	} else {
		entry.Failed = cardbroker.ReasonOf(errors.Join(failed, err))
	}
	return r.to.Add(entry)
}

// script writes the steps that were executed, and the one that failed.
func (r recorder) script(s script.Script, result script.Result, start time.Time) error {
	if r.to == nil {
		return nil
	}
	at := start
	for _, one := range result.Steps {
		if one.Step >= len(s.Steps) {
			continue
		}
		step := &s.Steps[one.Step]
		entry := stepEntry(step, at)
		entry.Data, entry.SW, entry.Card, entry.Total = one.Data, one.SW, one.Times.Card, one.Times.Agent
		command, err := apdu.ParseCommand(step.Command)
		entry.Gathered = err == nil && !step.RawMore && len(one.Data) > command.Le
		if err := r.to.Add(entry); err != nil {
			return err
		}
		at = at.Add(one.Times.Agent)
	}
	if result.Outcome == script.Failed || result.Outcome == script.Indeterminate {
		if result.Step < len(s.Steps) {
			entry := stepEntry(&s.Steps[result.Step], at)
			entry.Failed = result.Why.Reason
			return r.to.Add(entry)
		}
	}
	return nil
}

// stepEntry is what is known of a step before it is executed. What is inserted is not.
func stepEntry(step *script.Step, at time.Time) trace.Entry {
	entry := trace.Entry{Time: at, Command: step.Command, Sensitive: step.Sensitive}
	for _, n := range step.Insert {
		entry.Unknown = append(entry.Unknown, trace.Range{Offset: n.Offset, Length: n.Length})
	}
	return entry
}

// close closes the trace. Its error counts if there is no other.
func (r recorder) close(err error) error {
	if r.to == nil {
		return err
	}
	if closed := r.to.Close(); err == nil && closed != nil {
		return cardbroker.Wrapf(closed, cardbroker.Unavailable, "cannot write the trace")
	}
	return err
}

// progress is one line that is written over and over, on a terminal only.
type progress struct{ w io.Writer }

func (p *program) newProgress() progress {
	if file, ok := p.stderr.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return progress{w: file}
		}
	}
	return progress{w: io.Discard}
}

func (p progress) tell(done, total int) { fmt.Fprintf(p.w, "\r%d of %d steps\x1b[K", done, total) }

// end takes the line away.
func (p progress) end() { fmt.Fprint(p.w, "\r\x1b[K") }
