// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import "fmt"

// A statistic is what a goal is about.
type statistic string

const (
	ofP50    statistic = "p50"
	ofP99    statistic = "p99"
	ofMax    statistic = "max"
	ofRatio  statistic = "ratio"       // the median of the rounds' ratios to the limit
	ofExcess statistic = "p50 - limit" // the p50 less that of the limit
)

// goal is how much a statistic may be at most, in the row's unit.
type goal struct {
	of   statistic
	most float64
}

func (g goal) text(unit string) string {
	if g.of == ofRatio {
		unit = ""
	}
	return fmt.Sprintf("%s ≤ %s", g.of, number(g.most, unit))
}

// number writes a figure and its unit.
func number(v float64, unit string) string {
	text := fmt.Sprintf("%.4g", v)
	if unit != "" {
		text += " " + unit
	}
	return text
}
