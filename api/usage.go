// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"github.com/cardbroker/cardbroker"
)

// Usage tells the broker what an agent has measured in a tunnel of a tenant's since it told last; the broker adds it up for
// its metrics. It says nothing of what was in a command.
type Usage struct {
	Tenant        cardbroker.Tenant          `json:"tenant"`
	Commands      uint32                     `json:"commands"` // that a card has answered
	Indeterminate uint32                     `json:"indeterminate,omitempty"`
	Refused       map[cardbroker.Rule]uint32 `json:"refused,omitempty"` // commands, by the rule
	Queue         Times                      `json:"queue"`             // of commands: until the card had them
	Card          Times                      `json:"card"`              // of commands: how long the card took
}

// Times counts durations by how long they are.
type Times struct {
	Counts [TimesBuckets]uint32 `json:"counts"` // of those that are at most as long as TimesBounds says; the last: of longer ones
	Micros uint64               `json:"us"`     // all together
}

// TimesBuckets is how many counts there are.
const TimesBuckets = 20

// TimesBounds returns the longest duration of each count of [Times] but the last: 50 µs to 60 s.
func TimesBounds() [TimesBuckets - 1]time.Duration {
	const us, ms, s = time.Microsecond, time.Millisecond, time.Second
	return [...]time.Duration{50 * us, 100 * us, 250 * us, 500 * us, 1 * ms, 2500 * us, 5 * ms, 10 * ms, 25 * ms, 50 * ms,
		100 * ms, 250 * ms, 500 * ms, 1 * s, 2500 * ms, 5 * s, 10 * s, 30 * s, 60 * s}
}

// Add counts a duration.
func (t *Times) Add(d time.Duration) {
	bounds, i, end := TimesBounds(), 0, TimesBuckets-1
	for i < end {
		if middle := (i + end) / 2; d <= bounds[middle] {
			end = middle
		} else {
			i = middle + 1
		}
	}
	t.Counts[i]++
	t.Micros += uint64(max(0, d.Microseconds()))
}
