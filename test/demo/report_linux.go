// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// report prints what was shown, line by line, and counts.
type report struct {
	out            io.Writer
	passed, failed int
	answers        []timedAnswer
}

// timedAnswer is one command through a tunnel, for the table of times.
type timedAnswer struct {
	what string
	apduLine
}

// scene prints a heading.
func (r *report) scene(title string) {
	fmt.Fprintf(r.out, "\n%s\n", title)
}

// check prints whether a thing held, with what was seen.
func (r *report) check(held bool, what, seen string) bool {
	mark := "ok    "
	if held {
		r.passed++
	} else {
		r.failed++
		mark = "FAILED"
	}
	fmt.Fprintf(r.out, "  %s %s", mark, what)
	if seen = strings.TrimSpace(seen); seen != "" {
		fmt.Fprintf(r.out, ": %s", seen)
	}
	fmt.Fprintln(r.out)
	return held
}

// note prints what is no check.
func (r *report) note(format string, args ...any) {
	fmt.Fprintf(r.out, "         "+format+"\n", args...)
}

// times prints where the time of each command went.
func (r *report) times() {
	if len(r.answers) == 0 {
		return
	}
	r.scene("Where the time went (µs)")
	t := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tcommand\tanswer\ttotal\tnetwork\tqueue\tcard\tagent\t")
	for _, a := range r.answers {
		fmt.Fprintf(t, "\t%s\t%d bytes, %s\t%d\t%d\t%d\t%d\t%d\t\n", a.what, len(a.Response)/2, a.SW,
			a.Micros.Total, a.Micros.Network, a.Micros.Queue, a.Micros.Card, a.Micros.Agent)
	}
	t.Flush()
}
