// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sample

import (
	"context"
	"math/rand/v2"
	"time"
)

// Path is a way for a message there and back, and how long it took, in µs.
type Path struct {
	Trip    func() error
	Trips   func(warm, count int) ([]float64, error) // instead: the trips of a block, timed where they begin; warm do not count
	Took    []float64
	Medians []float64 // of each round
	Tails   []float64 // the p99 of each round
}

const (
	blockTrips = 500 // of one path, before the next has its turn: all see the same noise
	warmTrips  = 500 // of each block that do not count: the path before used other processes, on other processors
)

// InTurns measures the paths in turns, in another order in each round: a path is faster if its processes were used just
// before.
func InTurns(ctx context.Context, rounds int, paths ...*Path) error {
	for range rounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, i := range rand.Perm(len(paths)) {
			if err := paths[i].block(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Path) block() error {
	trips := p.Trips
	if trips == nil {
		trips = p.here
	}
	block, err := trips(warmTrips, blockTrips)
	if err != nil {
		return err
	}
	p.Add(block)
	return nil
}

// here makes the trips from this process.
func (p *Path) here(warm, count int) ([]float64, error) {
	block := make([]float64, 0, count)
	for n := range warm + count {
		start := time.Now()
		if err := p.Trip(); err != nil {
			return nil, err
		}
		if n >= warm {
			block = append(block, Micros(time.Since(start)))
		}
	}
	return block, nil
}

// Add takes the samples of a round.
func (p *Path) Add(block []float64) {
	p.Took = append(p.Took, block...)
	p.Medians = append(p.Medians, Median(block))
	p.Tails = append(p.Tails, percentile(block, 99))
}

// Less is the path without what another one takes, which was measured in turns with it.
func (p *Path) Less(other *Path) *Path {
	rest, usual := &Path{}, Summarize(other.Took).P50
	for _, took := range p.Took {
		rest.Took = append(rest.Took, took-usual)
	}
	for i := range p.Medians {
		rest.Medians = append(rest.Medians, p.Medians[i]-other.Medians[i])
	}
	return rest
}

// Ratios are those of each round.
func Ratios(ours, others []float64) []float64 {
	all := make([]float64, len(ours))
	for i := range all {
		all[i] = ours[i] / others[i]
	}
	return all
}

// Over are the ratios of samples to one figure.
func Over(ours []float64, other float64) []float64 {
	all := make([]float64, len(ours))
	for i := range all {
		all[i] = ours[i] / other
	}
	return all
}
