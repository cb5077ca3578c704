// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package sample takes the times of what is measured, in turns with what it is compared with, and says what is to be said of
// them.
package sample

import (
	"math"
	"slices"
	"time"
)

// Summary is what is shown of many samples.
type Summary struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Min float64 `json:"min"`
	Max float64 `json:"max"`
}

// Spread is what is shown of the ratios of all rounds.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// Summarize sorts the samples; there is at least one.
func Summarize(samples []float64) Summary {
	slices.Sort(samples)
	return Summary{
		P50: Rounded(percentile(samples, 50)),
		P99: Rounded(percentile(samples, 99)),
		Min: Rounded(samples[0]),
		Max: Rounded(samples[len(samples)-1]),
	}
}

// percentile returns the smallest sample that p percent of them do not exceed. They are sorted.
func percentile(sorted []float64, p int) float64 {
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// Median sorts the samples.
func Median(samples []float64) float64 {
	slices.Sort(samples)
	return percentile(samples, 50)
}

// Rounded leaves four digits that count: the others are noise.
func Rounded(v float64) float64 {
	if v == 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-3)
	r := math.Round(v/unit) * unit
	return math.Round(r*1e6) / 1e6
}

// Micros and Millis are the units of samples.
func Micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func Millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Each returns the samples in a unit.
func Each(took []time.Duration, unit func(time.Duration) float64) []float64 {
	samples := make([]float64, len(took))
	for i, d := range took {
		samples[i] = unit(d)
	}
	return samples
}
