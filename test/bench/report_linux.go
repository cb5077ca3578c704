// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/cardbroker/cardbroker/test/bench/proc"
	"github.com/cardbroker/cardbroker/test/bench/sample"
)

// report is what build/bench.json holds: docs/contract.md.
type report struct {
	Rows    []rowReport  `json:"rows"`
	Skipped []skipped    `json:"skipped"`
	Machine proc.Machine `json:"machine"`

	began time.Time
}

// rowReport is one row with what was found.
type rowReport struct {
	Row   string         `json:"row"`
	Unit  string         `json:"unit"`
	Ours  sample.Summary `json:"ours"`
	Limit *limit         `json:"limit"`
	Ratio *sample.Spread `json:"ratio"`
	Goal  string         `json:"goal"`
	Met   bool           `json:"met"`
}

// skipped is a row that could not be measured here.
type skipped struct {
	Row string `json:"row"`
	Why string `json:"why"`
}

func newReport() *report {
	return &report{Rows: []rowReport{}, Skipped: []skipped{}, Machine: proc.ThisMachine(), began: time.Now()}
}

// add judges what was found for a row.
func (r *report) add(row row, m measured) {
	if m.skip != "" {
		r.Skipped = append(r.Skipped, skipped{Row: row.name, Why: m.skip})
		return
	}
	found := rowReport{Row: row.name, Unit: row.unit, Ours: sample.Summarize(m.ours), Limit: m.limit, Goal: row.goal.text(row.unit)}
	if m.limit != nil {
		middle := sample.Median(m.ratios)
		found.Ratio = &sample.Spread{Min: sample.Rounded(m.ratios[0]), Median: sample.Rounded(middle), Max: sample.Rounded(m.ratios[len(m.ratios)-1])}
	}
	found.Met = found.value(row.goal.of) <= row.goal.most
	r.Rows = append(r.Rows, found)
}

// value returns the statistic that a goal is about.
func (f rowReport) value(of statistic) float64 {
	switch of {
	case ofP50:
		return f.Ours.P50
	case ofP99:
		return f.Ours.P99
	case ofMax:
		return f.Ours.Max
	case ofRatio:
		return f.Ratio.Median
	case ofExcess:
		return f.Ours.P50 - f.Limit.P50
	}
	panic("BUG: no statistic " + of)
}

// table writes the report for people.
func (r *report) table(w io.Writer) {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "ROW\tP50\tP99\tLIMIT\tRATIO\tGOAL\tMET")
	for _, f := range r.Rows {
		limit, ratio, met := "-", "-", "yes"
		if f.Limit != nil {
			limit = fmt.Sprintf("%s (%s)", number(f.Limit.P50, ""), f.Limit.Name)
			ratio = fmt.Sprintf("%.2f", f.Ratio.Median)
		}
		if !f.Met {
			met = "NO"
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Row, number(f.Ours.P50, f.Unit), number(f.Ours.P99, ""), limit, ratio, f.Goal, met)
	}
	out.Flush()
	for _, s := range r.Skipped {
		fmt.Fprintf(w, "skipped: %s: %s\n", s.Row, s.Why)
	}
}

// write writes the report as JSON.
func (r *report) write(file string) error {
	r.Machine.Load[1] = proc.Load()
	r.Machine.Took = sample.Rounded(time.Since(r.began).Seconds())
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, text.Bytes(), 0o644)
}

// verdict says what is not as promised. A baseline that is slow comes first: then the other figures say little.
func (r *report) verdict() error {
	var missed []error
	for _, f := range r.Rows {
		switch {
		case f.Met:
		case f.Row == rowBaseline:
			missed = append(missed, fmt.Errorf("the bench itself failed: gorilla takes %.2f times as long as TCP, want %s; "+
				"what is compared with it says nothing", f.Ratio.Median, f.Goal))
		default:
			missed = append(missed, fmt.Errorf("goal missed: %s: want %s", f.Row, f.Goal))
		}
	}
	return errors.Join(missed...)
}
