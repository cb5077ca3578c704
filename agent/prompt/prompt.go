// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package prompt asks the user of a session for PINs, with the program that machine policy names or else a dialog of the desktop
// (zenity, kdialog): one question at a time. What the program says on its standard error is dropped, and nothing of an answer is
// kept, logged or put into an error. docs/admin.md describes what policy's program is told and how it answers.
package prompt

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

// maxAnswer is the longest answer, in bytes.
const maxAnswer = 256

// The exit statuses of the program that mean something; any other is a failure.
const (
	exitAnswered = 0
	exitCanceled = 1
)

// Config says how to ask.
type Config struct {
	Command []string      // program and arguments; empty: a dialog of the desktop
	Timeout time.Duration // of one question
	Log     *slog.Logger
}

// Prompt asks. Any number of goroutines may use it.
type Prompt struct {
	cfg   Config
	steps func(q cardend.Question, timeout time.Duration) ([]step, error)
	turn  chan struct{} // capacity 1: held by who asks
}

// step is one run of a program: what it reads, and how many lines it says.
type step struct {
	command  []string
	question []byte
	lines    int
}

var _ cardend.Asker = (*Prompt)(nil)

// New returns a prompt that shows nothing yet: policy's command, else a dialog of the desktop. nil: there is none.
func New(cfg Config) *Prompt {
	p := &Prompt{cfg: cfg, turn: make(chan struct{}, 1)}
	if len(cfg.Command) > 0 {
		p.steps = p.byCommand
		return p
	}
	found, ok := first(dialogs())
	if !ok {
		return nil
	}
	p.steps = found.steps
	return p
}

// byCommand is one run of policy's program, which reads the question as JSON.
func (p *Prompt) byCommand(q cardend.Question, timeout time.Duration) ([]step, error) {
	say := question{
		Kind: "pin", Action: q.Action, Tenant: q.Tenant, Origin: q.Origin, Reader: printed(q.Reader), Which: printed(q.Which), Ask: q.Ask, Min: q.Min, Max: q.Max,
		Digits: q.Digits, Problem: q.Problem, Timeout: max(1, int(timeout/time.Second)),
	}
	if q.Problem == cardend.ProblemWrong && q.Tries >= 0 || q.Problem == cardend.ProblemFew {
		say.Tries = &q.Tries
	}
	text, err := json.Marshal(say)
	return []step{{command: p.cfg.Command, question: append(text, '\n'), lines: len(q.Ask)}}, err
}

// steps are the dialogs for a question.
func (p program) steps(q cardend.Question, _ time.Duration) (steps []step, err error) {
	dialogs := p.pins(pinWords(q), labels(q.Ask))
	for _, args := range dialogs {
		steps = append(steps, step{command: append([]string{p.path}, args...), lines: len(q.Ask) / len(dialogs)})
	}
	return steps, nil
}

// question is what the program reads, as one JSON object.
type question struct {
	Kind    string            `json:"kind"` // pin
	Action  cardend.Action    `json:"action"`
	Tenant  cardbroker.Tenant `json:"tenant"`
	Origin  cardbroker.Origin `json:"origin,omitempty"`
	Reader  string            `json:"reader"`
	Ask     []cardend.Part    `json:"ask"`
	Min     int               `json:"min"`
	Max     int               `json:"max"`
	Digits  bool              `json:"digits"`
	Problem cardend.Problem   `json:"problem,omitempty"`
	Tries   *int              `json:"tries_left,omitempty"`
	Timeout int               `json:"timeout_s"`
	Which   string            `json:"which,omitempty"`
}

// AskPIN implements [cardend.Asker]. Who comes while another question is open waits for his turn, and is answered
// ReaderBusy if his time is over by then.
func (p *Prompt) AskPIN(ctx context.Context, q cardend.Question) ([]cardbroker.Secret, error) {
	if err := p.await(ctx); err != nil {
		return nil, err
	}
	defer func() { <-p.turn }()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	start := time.Now()
	steps, err := p.steps(q, deadline.Sub(start))
	if err != nil {
		return nil, err
	}
	p.cfg.Log.Info("the user is asked for a PIN", "tenant", q.Tenant, "origin", q.Origin, "reader", q.Reader)
	pins, err := ask(ctx, steps)
	p.cfg.Log.Info("the question for a PIN has ended", "tenant", q.Tenant, "reason", cardbroker.ReasonOf(err), "dur", time.Since(start))
	return pins, err
}

// await takes the turn. Whose time is over gets none, whatever else has come at the same moment: he would see a question that goes away at
// once. That another question is in the way is said only where one was.
func (p *Prompt) await(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case p.turn <- struct{}{}:
		if ctx.Err() == nil {
			return nil
		}
		<-p.turn
	case <-ctx.Done():
	}
	if ctx.Err() == context.DeadlineExceeded {
		return cardbroker.Errorf(cardbroker.ReaderBusy, "the user is being asked for another PIN")
	}
	return ctx.Err()
}

// ask takes all steps. On an error it has wiped what it had.
func ask(ctx context.Context, steps []step) (pins []cardbroker.Secret, err error) {
	for _, s := range steps {
		said, err := s.take(ctx)
		if err != nil {
			for _, pin := range pins {
				clear(pin.Reveal())
			}
			return nil, err
		}
		pins = append(pins, said...)
	}
	return pins, nil
}

// take runs the program and reads its lines.
func (s step) take(ctx context.Context) ([]cardbroker.Secret, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var buf [maxAnswer + 1]byte
	defer clear(buf[:])
	n, status, err := runProgram(ctx, s.command, s.question, buf[:])
	switch {
	case ctx.Err() != nil: // whatever it said before it was killed
		return nil, ctx.Err()
	case err != nil:
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the prompt for a PIN cannot be shown")
	case n > maxAnswer:
		return nil, cardbroker.Errorf(cardbroker.Unavailable, "the prompt for a PIN said more than %d bytes", maxAnswer)
	case status == exitCanceled:
		return nil, cardbroker.Errorf(cardbroker.PINCanceled, "the user did not enter a PIN")
	case status != exitAnswered:
		return nil, cardbroker.Errorf(cardbroker.Unavailable, "the prompt for a PIN ended with status %d", status)
	}
	said := bytes.TrimSuffix(buf[:n], []byte("\n"))
	if got := bytes.Count(said, []byte("\n")) + 1; got != s.lines {
		return nil, cardbroker.Errorf(cardbroker.Unavailable, "the prompt for a PIN said %d lines, want %d", got, s.lines)
	}
	var pins []cardbroker.Secret
	for line := range bytes.SplitSeq(said, []byte("\n")) {
		pins = append(pins, cardbroker.NewSecret(bytes.Clone(line)))
	}
	return pins, nil
}
