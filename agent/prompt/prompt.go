// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package prompt asks the user of a session for PINs, with the program that machine policy names: one question at a time.
// What the program says on its standard error is dropped, and nothing of an answer is kept, logged or put into an error.
// docs/admin.md describes what the program is told and how it answers.
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
	Command []string      // program and arguments
	Timeout time.Duration // of one question
	Log     *slog.Logger
}

// Prompt asks. Any number of goroutines may use it.
type Prompt struct {
	cfg  Config
	turn chan struct{} // capacity 1: held by who asks
}

var _ cardend.Asker = (*Prompt)(nil)

// New returns a prompt that shows nothing yet.
func New(cfg Config) *Prompt {
	return &Prompt{cfg: cfg, turn: make(chan struct{}, 1)}
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
}

// AskPIN implements [cardend.Asker]. Who comes while another question is open waits for his turn, and is answered
// ReaderBusy if his time is over by then.
func (p *Prompt) AskPIN(ctx context.Context, q cardend.Question) ([]cardbroker.Secret, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		if ctx.Err() == context.DeadlineExceeded {
			return nil, cardbroker.Errorf(cardbroker.ReaderBusy, "the user is being asked for another PIN")
		}
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	start := time.Now()
	say := question{
		Kind: "pin", Action: q.Action, Tenant: q.Tenant, Origin: q.Origin, Reader: q.Reader, Ask: q.Ask, Min: q.Min, Max: q.Max, Digits: q.Digits,
		Problem: q.Problem, Timeout: max(1, int(deadline.Sub(start)/time.Second)),
	}
	if q.Problem == cardend.ProblemWrong || q.Problem == cardend.ProblemFew {
		say.Tries = &q.Tries
	}
	text, err := json.Marshal(say)
	if err != nil {
		return nil, err
	}
	p.cfg.Log.Info("the user is asked for a PIN", "tenant", q.Tenant, "origin", q.Origin, "reader", q.Reader)
	pins, err := p.ask(ctx, append(text, '\n'), len(q.Ask))
	p.cfg.Log.Info("the question for a PIN has ended", "tenant", q.Tenant, "reason", cardbroker.ReasonOf(err), "dur", time.Since(start))
	return pins, err
}

// ask runs the program and reads so many lines from it.
func (p *Prompt) ask(ctx context.Context, question []byte, lines int) ([]cardbroker.Secret, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var buf [maxAnswer + 1]byte
	defer clear(buf[:])
	n, status, err := runProgram(ctx, p.cfg.Command, question, buf[:])
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
	if got := bytes.Count(said, []byte("\n")) + 1; got != lines {
		return nil, cardbroker.Errorf(cardbroker.Unavailable, "the prompt for a PIN said %d lines, want %d", got, lines)
	}
	var pins []cardbroker.Secret
	for line := range bytes.SplitSeq(said, []byte("\n")) {
		pins = append(pins, cardbroker.NewSecret(bytes.Clone(line)))
	}
	return pins, nil
}
