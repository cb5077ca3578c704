// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/cardbroker/cardbroker/test/bench/failover"
	"github.com/cardbroker/cardbroker/test/bench/sample"
)

// failoverRows are agents that elect their registry. Beside the first figure is what gossip alone takes.
func failoverRows() []row {
	return []row{
		{"elected registry: kill -9 of the leader to all of 60 agents listed by the next", "ms", goal{ofP99, 150}},
		{"elected registry: the same with 1,000 watchers, to all asserted again", "ms", goal{ofMax, 1000}},
		{"elected registry: wake-ups of an idle watcher, in 15 s", "in 15 s", goal{ofP50, 0}},
		{"elected registry: processor of an idle voter", "% of a core", goal{ofP50, 0.1}},
	}
}

func (b *bench) failovers(ctx context.Context) ([]measured, error) {
	f, err := failover.Measure(ctx, "build/bench/election", "build", pick(b, 30, 10), b.stderr)
	alone := f.Alone()
	of60 := measured{f.Millis[failover.Failover], &limit{"memberlist alone, seen by all of 7", alone}, sample.Over(f.Millis[failover.Failover], alone), f.Missing}
	return []measured{of60, {ours: f.Millis[failover.Crowd], skip: f.Missing}, {ours: f.Wakes[failover.Watcher], skip: f.Missing}, {ours: f.Shares[failover.Voter], skip: f.Missing}}, err
}
