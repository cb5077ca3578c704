// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sample

import "testing"

func TestSummarize(t *testing.T) {
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	for _, c := range []struct {
		name    string
		samples []float64
		want    Summary
	}{
		{"one", []float64{7}, Summary{P50: 7, P99: 7, Min: 7, Max: 7}},
		{"two", []float64{2, 1}, Summary{P50: 1, P99: 2, Min: 1, Max: 2}},
		{"a hundred", hundred, Summary{P50: 50, P99: 99, Min: 1, Max: 100}},
		{"four digits", []float64{123.456, 0.00123456, 0}, Summary{P50: 0.001235, P99: 123.5, Min: 0, Max: 123.5}},
	} {
		if got := Summarize(c.samples); got != c.want {
			t.Errorf("%s: Summarize() = %+v, want %+v", c.name, got, c.want)
		}
	}
}
