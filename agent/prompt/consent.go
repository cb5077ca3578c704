// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/consent"
)

// allowed is what policy's program says for yes, and nothing else: one that asks for PINs only, and is asked something else,
// does not consent by whatever it says.
const allowed = "allow"

// Consent asks the user whether web pages may use his cards. Make it with [NewConsent].
type Consent struct {
	way way
	log *slog.Logger
}

var _ consent.Prompter = (*Consent)(nil)

// way is one way to ask: a command line, what it reads, and what it says for yes.
type way struct {
	command  func(q consent.Question) []string
	question func(q consent.Question, timeout time.Duration) any // nil: it reads nothing
	yes      string                                              // with status 0
}

// NewConsent returns the first way to ask that is there: policy's command, else a dialog of the desktop. nil: there is none.
func NewConsent(command []string, log *slog.Logger) *Consent {
	if len(command) > 0 {
		return &Consent{way: byCommand(command), log: log}
	}
	if found, ok := first(dialogs()); ok {
		return &Consent{way: found.way(), log: log}
	}
	return nil
}

// consentQuestion is what policy's program reads, as one JSON object.
type consentQuestion struct {
	Kind    string            `json:"kind"` // consent
	Origin  cardbroker.Origin `json:"origin"`
	Days    int               `json:"days"`
	Timeout int               `json:"timeout_s"`
}

func byCommand(command []string) way {
	return way{
		command: func(consent.Question) []string { return command },
		question: func(q consent.Question, timeout time.Duration) any {
			return consentQuestion{Kind: "consent", Origin: q.Origin, Days: q.Days, Timeout: max(1, int(timeout/time.Second))}
		},
		yes: allowed,
	}
}

// way is how the program asks for consent.
func (p program) way() way {
	return way{command: func(q consent.Question) []string { return append([]string{p.path}, p.ask(q)...) }, yes: p.yes}
}

// AskConsent implements [consent.Prompter].
func (c *Consent) AskConsent(ctx context.Context, q consent.Question) (bool, error) {
	var question []byte
	if c.way.question != nil {
		timeout := consent.AskTimeout
		if deadline, ok := ctx.Deadline(); ok {
			timeout = time.Until(deadline)
		}
		text, err := json.Marshal(c.way.question(q, timeout))
		if err != nil {
			return false, err
		}
		question = append(text, '\n')
	}
	c.log.Info("the user is asked for consent", "origin", q.Origin)
	var said [maxAnswer + 1]byte
	n, status, err := runProgram(ctx, c.way.command(q), question, said[:])
	switch {
	case ctx.Err() != nil: // whatever it said before it was killed
		return false, ctx.Err()
	case err != nil:
		return false, cardbroker.Wrapf(err, cardbroker.Unavailable, "the prompt for consent cannot be shown")
	case status == exitCanceled:
		return false, nil
	case status != exitAnswered:
		return false, cardbroker.Errorf(cardbroker.Unavailable, "the prompt for consent ended with status %d", status)
	}
	switch strings.TrimSuffix(string(said[:n]), "\n") {
	case c.way.yes:
		return true, nil
	case refusal:
		return false, nil
	}
	return false, cardbroker.Errorf(cardbroker.Unavailable, "the prompt for consent said something else than yes or no")
}

// refusal is what a program says for no, if it does not end with status 1.
const refusal = "deny"
