// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sample

import (
	"slices"
	"testing"
)

// TestInTurns measures two paths whose samples are known.
func TestInTurns(t *testing.T) {
	rounds := 0
	slow := &Path{Trips: func(int, int) ([]float64, error) {
		rounds++
		return []float64{30 * float64(rounds), 10, 20}, nil
	}}
	fast := &Path{Trips: func(int, int) ([]float64, error) { return []float64{5, 10, 15}, nil }}
	if err := InTurns(t.Context(), 2, slow, fast); err != nil {
		t.Fatal(err)
	}
	if want := []float64{20, 20}; !slices.Equal(slow.Medians, want) {
		t.Errorf("Medians = %v, want %v", slow.Medians, want)
	}
	if want := []float64{30, 60}; !slices.Equal(slow.Tails, want) {
		t.Errorf("Tails = %v, want %v", slow.Tails, want)
	}
	if got, want := Ratios(slow.Tails, fast.Tails), []float64{2, 4}; !slices.Equal(got, want) {
		t.Errorf("Ratios = %v, want %v", got, want)
	}
	rest := slow.Less(fast)
	if want := []float64{10, 10}; !slices.Equal(rest.Medians, want) {
		t.Errorf("Medians of the rest = %v, want %v", rest.Medians, want)
	}
	if got, want := Summarize(rest.Took), (Summary{P50: 10, P99: 50, Min: 0, Max: 50}); got != want {
		t.Errorf("samples of the rest: %+v, want %+v", got, want)
	}
}

// TestTripsWarmUp has a path make its trips itself.
func TestTripsWarmUp(t *testing.T) {
	trips := 0
	p := &Path{Trip: func() error { trips++; return nil }}
	if err := InTurns(t.Context(), 1, p); err != nil {
		t.Fatal(err)
	}
	if trips != warmTrips+blockTrips || len(p.Took) != blockTrips {
		t.Errorf("%d trips and %d samples, want %d and %d", trips, len(p.Took), warmTrips+blockTrips, blockTrips)
	}
}
