// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/trace"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/script"
)

// runLine is what `cardbroker reader run` answers.
type runLine struct {
	Outcome  string            `json:"outcome"`
	Executed int               `json:"executed"`
	EndedBy  int               `json:"ended_by,omitempty"` // the step, from 1
	Reason   cardbroker.Reason `json:"reason,omitempty"`
	Error    string            `json:"error,omitempty"`
	Steps    []runStep         `json:"steps"`
}

// runStep is one step that was executed.
type runStep struct {
	Step       int      `json:"step"` // from 1
	Label      string   `json:"label,omitempty"`
	SW         string   `json:"sw"`
	Data       string   `json:"data"`
	Micros     runTimes `json:"us"`
	Unexpected bool     `json:"unexpected,omitempty"`
	Cut        bool     `json:"cut,omitempty"`
}

// runTimes are in microseconds, at the card's end.
type runTimes struct {
	Total int64 `json:"total"`
	Queue int64 `json:"queue"`
	Card  int64 `json:"card"`
}

// dryLine is what it answers with --dry-run.
type dryLine struct {
	Outcome  string    `json:"outcome"`
	Executed int       `json:"executed"`
	Steps    []dryStep `json:"steps"`
}

// dryStep is what the firewall says of one step.
type dryStep struct {
	Step    int               `json:"step"` // from 1
	Label   string            `json:"label,omitempty"`
	Command string            `json:"command"`
	Verdict string            `json:"verdict"` // allowed or refused
	Reason  cardbroker.Reason `json:"reason,omitempty"`
	Rule    cardbroker.Rule   `json:"rule,omitempty"`
	Error   string            `json:"error,omitempty"`
}

// running is how `cardbroker reader run` runs.
type running struct {
	reader string
	script script.Script
	parts  int
	dry    bool
	record string
}

func (p *program) readerRun(flags *readerFlags) *cobra.Command {
	var r running
	c := &cobra.Command{Use: "run READER SCRIPT", Short: "Run a script of command APDUs next to the card, in one round trip",
		Long: "Run a script, YAML or JSON (- reads it from standard input), on the card in READER (an id of `reader list`, or - for the reader of\n" +
			"the ticket). A script is a list of command APDUs, with the status words that are expected, 9000 unless something else is said:\n\n" +
			"    steps: [00A4040009A00000030800001000, {command: 00CB3FFF055C035FC10200, expect: [success, 6A82], on_mismatch: continue}]\n\n" +
			"docs/scripts.md has the rest: going on at a label, captures, limits. The user's end judges the whole script before it runs it. The exit\n" +
			"status is 0 if it came to its end, 3 if it was refused, 5 if an answer was not expected, 6 if it is not known what became of a command;\n" +
			"docs/contract.md has the others.",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if r.reader = args[0]; r.dry && r.record != "" {
				return cardbroker.Errorf(cardbroker.Invalid, "--dry-run and --record do not go together: nothing is run that could be recorded")
			}
			if r.script, err = readScript(args[1], c.InOrStdin()); err != nil {
				return err
			}
			parts, err := r.script.Parts()
			if err != nil {
				return err
			}
			r.parts = len(parts)
			return p.runScript(c.Context(), flags, r)
		}}
	c.Flags().BoolVar(&r.dry, "dry-run", false, "show what the firewall says of each step, and run nothing")
	c.Flags().StringVar(&r.record, "record", "", "write a trace to this new file, without PINs and keys; agent run --software-card plays it")
	return c
}

// readScript reads and checks a script, before anything else is done.
func readScript(name string, stdin io.Reader) (script.Script, error) {
	from := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return script.Script{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the script %s", name)
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, script.MaxText+1))
	if err != nil {
		return script.Script{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the script %s", name)
	}
	s, err := script.Parse(text)
	if err != nil {
		return s, fmt.Errorf("script %s: %w", name, err)
	}
	return s, nil
}

// time is how long the script may take, and lease for how long it needs the reader; 0: the holder's default is enough.
func (r running) time() time.Duration {
	limit := r.script.Limit
	if limit == 0 {
		limit = script.DefaultLimit
	}
	return time.Duration(r.parts) * limit
}

func (r running) lease() time.Duration {
	if t := r.time() + time.Minute; t > 5*time.Minute {
		return t.Round(time.Second)
	}
	return 0
}

func (p *program) runScript(ctx context.Context, flags *readerFlags, r running) (err error) {
	asked, err := flags.client()
	if err != nil {
		return err
	}
	ticket, err := flags.ticket()
	if err != nil {
		return err
	}
	trace, err := newRecorder(r.record) // before the ticket is burnt
	if err != nil {
		return err
	}
	defer func() { err = trace.close(err) }()
	ctx, stop := p.service(ctx)
	defer stop()
	tunnel, err := flags.open(ctx, asked, r.reader, ticket, virtualreader.Options{Lease: r.lease()})
	if err != nil {
		return err
	}
	defer tunnel.Close()
	if flags.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, flags.timeout+r.time())
		defer cancel()
	}
	if r.dry {
		return p.judge(ctx, tunnel, r.script)
	}
	if err := trace.begin(ctx, tunnel); err != nil {
		return err
	}
	bar := p.newProgress()
	start := time.Now()
	result, failed := tunnel.Run(ctx, r.script, bar.tell)
	bar.end()
	if err := trace.script(r.script, result, start); err != nil {
		return err
	}
	if err := p.writeResult(r.script, result); err != nil {
		return err
	}
	if failed == nil && result.Why != nil {
		failed = result.Why
	}
	return failed
}

// writeResult prints what became of a script.
func (p *program) writeResult(s script.Script, result script.Result) error {
	line := runLine{Outcome: result.Outcome.String(), Executed: len(result.Steps), Steps: make([]runStep, len(result.Steps))}
	if result.Why != nil {
		line.EndedBy, line.Reason, line.Error = result.Step+1, result.Why.Reason, result.Why.Message
	}
	for i, r := range result.Steps {
		if r.Step >= len(s.Steps) {
			return cardbroker.Errorf(cardbroker.Invalid, "the holder of the card answers step %d of %d", r.Step+1, len(s.Steps))
		}
		line.Steps[i] = runStep{
			Step:  r.Step + 1,
			Label: s.Steps[r.Step].Label,
			SW:    r.SW.String(),
			Data:  strings.ToUpper(hex.EncodeToString(r.Data)),
			Micros: runTimes{
				Total: r.Times.Agent.Microseconds(),
				Queue: r.Times.Queue.Microseconds(),
				Card:  r.Times.Card.Microseconds(),
			},
			Unexpected: !r.Matched,
			Cut:        r.Cut,
		}
	}
	return p.write(line, func(w io.Writer) {
		for i, r := range result.Steps {
			step := line.Steps[i]
			title := strings.TrimSpace(fmt.Sprint(step.Step, " ", step.Label))
			fmt.Fprintf(w, "%s\n> %s\n< %s%s  %s  (%v; card %v)\n", title, shownStep(s.Steps[r.Step].Command),
				step.Data, step.SW, r.SW.Words(), r.Times.Agent, r.Times.Card)
		}
		outcome := line.Outcome
		if line.EndedBy != 0 {
			outcome += fmt.Sprintf(" at step %d", line.EndedBy)
		}
		fmt.Fprintf(w, "%s: %d of %d steps, %v in the card\n", outcome, line.Executed, len(s.Steps), result.Times.Card)
	})
}

// judge prints what the firewall says of each step. It is an error if one may not pass.
func (p *program) judge(ctx context.Context, tunnel *virtualreader.Tunnel, s script.Script) error {
	verdicts, err := tunnel.Judge(ctx, s)
	if err != nil {
		return err
	}
	line := dryLine{Outcome: script.OK.String(), Steps: make([]dryStep, len(verdicts))}
	var first *cardbroker.Error
	for i, why := range verdicts {
		step := dryStep{Step: i + 1, Label: s.Steps[i].Label, Command: shownStep(s.Steps[i].Command), Verdict: "allowed"}
		if why != nil {
			step.Verdict, step.Reason, step.Rule, step.Error = "refused", why.Reason, why.Rule, why.Message
			line.Outcome = script.Refused.String()
			if first == nil {
				first = why
			}
		}
		line.Steps[i] = step
	}
	err = p.write(line, func(w io.Writer) {
		rows(w, "STEP\tLABEL\tCOMMAND\tVERDICT\tWHY", line.Steps, func(s dryStep) string {
			return fmt.Sprintf("%d\t%s\t%s\t%s\t%s", s.Step, s.Label, s.Command, s.Verdict, s.Error)
		})
	})
	if err == nil && first != nil {
		return first
	}
	return err
}

// shownStep is the command of a step as it is printed: without data where they may be a PIN or a key.
func shownStep(command []byte) string {
	text := strings.ToUpper(hex.EncodeToString(command))
	if trace.Redacts(command) && len(text) > 10 {
		return text[:10] + strings.Repeat("*", len(text)-10)
	}
	return text
}
