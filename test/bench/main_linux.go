// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker/test/bench/program"
	"github.com/cardbroker/cardbroker/test/stage"
)

func main() {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		os.Exit(help(os.Args[1:]))
	}
	os.Exit(start(os.Args[1:], os.Stdout, os.Stderr))
}

// bench is one run.
type bench struct {
	rows   *regexp.Regexp
	quick  bool
	stage  *stage.Stage
	stderr io.Writer
	silent chan []measured // what was found in the background; nil: not measured
}

const (
	reportFile = "build/bench.json"
	usage      = "usage: bench [--rows REGEXP] [--quick]"
)

// start measures, reports and cleans up. It returns the exit status.
func start(args []string, stdout, stderr io.Writer) int {
	b := &bench{rows: regexp.MustCompile(""), stderr: stderr}
	if err := b.parse(args); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n%s\n", err, usage)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report := newReport()
	err := b.run(ctx, report)
	if err == nil {
		report.table(stdout)
		err = report.write(reportFile)
	}
	if err == nil {
		err = report.verdict()
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

func (b *bench) parse(args []string) error {
	for len(args) > 0 {
		switch {
		case args[0] == "--quick":
			b.quick = true
		case args[0] == "--rows" && len(args) > 1:
			rows, err := regexp.Compile(args[1])
			if err != nil {
				return err
			}
			b.rows, args = rows, args[1:]
		default:
			return fmt.Errorf("unknown argument %q", args[0])
		}
		args = args[1:]
	}
	return nil
}

// run builds the programs, sets the stage, measures section by section and strikes the stage.
func (b *bench) run(ctx context.Context, r *report) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := program.Build(ctx); err != nil {
		return err
	}
	b.stage, err = stage.New(ctx, map[string]string{
		"cardbroker":  "build/cardbroker",
		"cardsandbox": "build/cardsandbox",
		"vcard":       "build/bench/vcard",
		"bench":       self,
	})
	if b.stage != nil {
		defer func() {
			for _, problem := range b.stage.Strike() {
				err = errors.Join(err, errors.New(problem))
			}
		}()
	}
	if err != nil {
		return err
	}
	end, err := b.keepSilence(ctx)
	if err != nil {
		return fmt.Errorf("cannot prepare %q: %w", rowSilentCalls, err)
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, section := range b.sections() {
		if err := b.section(ctx, section, r); err != nil {
			return err
		}
	}
	if len(r.Rows)+len(r.Skipped) == 0 {
		return errors.New("no row has a name that fits")
	}
	return nil
}

// section measures a section if one of its rows is wanted, and reports those that are.
func (b *bench) section(ctx context.Context, s section, r *report) error {
	wanted := false
	for _, row := range s.rows {
		wanted = wanted || b.wants(row.name)
	}
	if !wanted {
		return nil
	}
	b.progress("%s …", s.rows[0].name)
	found, err := s.measure(ctx)
	if err != nil {
		return fmt.Errorf("cannot measure %q: %w", s.rows[0].name, err)
	}
	for i, row := range s.rows {
		if b.wants(row.name) {
			r.add(row, found[i])
		}
	}
	return nil
}

func (b *bench) wants(row string) bool { return b.rows.MatchString(row) }

// progress tells people what is being done.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(b.stderr, format+"\n", args...)
}

// rest does nothing for d, since nothing is what is measured then.
func (b *bench) rest(ctx context.Context, why string, d time.Duration) error {
	b.progress("resting for %v %s …", d, why)
	return pause(ctx, d)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pick returns how much there is to be measured of something.
func pick[T any](b *bench, full, quick T) T {
	if b.quick {
		return quick
	}
	return full
}
