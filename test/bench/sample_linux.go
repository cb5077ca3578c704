// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// summary is what is shown of many samples.
type summary struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Min float64 `json:"min"`
	Max float64 `json:"max"`
}

// spread is what is shown of the ratios of all rounds.
type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// summarize sorts the samples; there is at least one.
func summarize(samples []float64) summary {
	slices.Sort(samples)
	return summary{
		P50: rounded(percentile(samples, 50)),
		P99: rounded(percentile(samples, 99)),
		Min: rounded(samples[0]),
		Max: rounded(samples[len(samples)-1]),
	}
}

// percentile returns the smallest sample that p percent of them do not exceed. They are sorted.
func percentile(sorted []float64, p int) float64 {
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// median sorts the samples.
func median(samples []float64) float64 {
	slices.Sort(samples)
	return percentile(samples, 50)
}

// rounded leaves four digits that count: the others are noise.
func rounded(v float64) float64 {
	if v == 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-3)
	r := math.Round(v/unit) * unit
	return math.Round(r*1e6) / 1e6
}

// The units of samples.
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// each returns the samples in a unit.
func each(took []time.Duration, unit func(time.Duration) float64) []float64 {
	samples := make([]float64, len(took))
	for i, d := range took {
		samples[i] = unit(d)
	}
	return samples
}

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
