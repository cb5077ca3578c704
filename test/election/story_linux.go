// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker/test/bench/failover"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/election/bed"
)

// story is what happens on a host, and what is to be true then.
type story struct {
	name   string
	users  int
	rounds int  // of the tests
	long   bool // no test, but measured
	play   func(ctx context.Context, b *bed.Bed, s show) (found, error)
}

func stories() []story {
	return []story{
		{name: "start", users: 6, play: startAtOnce},
		{name: "failover", users: 6, rounds: 4, play: deaths},
		{name: "hang", users: 6, play: hang},
		{name: "leave", users: 6, rounds: 2, play: leave},
		{name: "cut", users: 6, rounds: 2, play: cut},
		{name: "forge", users: 7, rounds: 1, play: forge},
		{name: "takeover", users: 6, rounds: 1, play: takeover},
		{name: "crowd", users: 2, long: true, play: crowd},
		{name: "idle", users: 2, long: true, play: idle},
		{name: "peer", users: 1, long: true, play: peer},
	}
}

// found is what a story has found out.
type found failover.Found

func (f found) String() string {
	lines := []string{fmt.Sprintf("%s: %.1f s", f.Story, f.Took)}
	for name, samples := range f.Millis {
		s := sample.Summarize(samples)
		lines = append(lines, fmt.Sprintf("  %s: %d times, p50 %.4g ms, p99 %.4g ms, max %.4g ms", name, len(samples), s.P50, s.P99, s.Max))
	}
	for name, samples := range f.Shares {
		s := sample.Summarize(samples)
		lines = append(lines, fmt.Sprintf("  %s: p50 %.4g %%, max %.4g %%", name, s.P50, s.Max))
	}
	for name, samples := range f.Wakes {
		s := sample.Summarize(samples)
		lines = append(lines, fmt.Sprintf("  %s: p50 %g, max %g", name, s.P50, s.Max))
	}
	for name, n := range f.Counts {
		lines = append(lines, fmt.Sprintf("  %s: %d", name, n))
	}
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n")
}

const (
	startLimit    = 90 * time.Second // these end what hangs
	failoverLimit = 30 * time.Second
	keptLimit     = 15 * time.Second
)

// startAtOnce starts all agents at the same time: one of them leads, in one term, and has all others.
func startAtOnce(ctx context.Context, b *bed.Bed, s show) (found, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	agents := b.Enlist(s.agents)
	began := time.Now()
	terms, watched := &bed.Terms{}, make(chan error, 1)
	over, end := context.WithCancel(ctx)
	go func() { watched <- b.Watch(over, terms) }()
	err := b.Restart(agents...)
	took := time.Since(began)
	if err == nil {
		_, lists, failed := b.Await(ctx, 0)
		if err = failed; err == nil {
			err = errors.Join(bed.Check(lists), b.Look(ctx, terms))
		}
	}
	end()
	if failed := <-watched; err == nil {
		err = failed
	}
	if err != nil {
		return found{}, err
	}
	n, _, wrong := terms.Seen()
	if n != 1 || len(wrong) > 0 {
		return found{}, fmt.Errorf("%d terms were seen, want 1: %v", n, wrong)
	}
	return found{
		Millis: map[string][]float64{fmt.Sprintf("start of %d agents at once, to the last one's ready line", s.agents): {sample.Millis(took)}},
	}, nil
}
