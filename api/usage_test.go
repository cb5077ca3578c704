// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/api"
)

func TestTimes(t *testing.T) {
	bounds := api.TimesBounds()
	for i, bound := range bounds {
		if i > 0 && bound <= bounds[i-1] {
			t.Errorf("bound %d is %v, after %v", i, bound, bounds[i-1])
		}
		for d, want := range map[time.Duration]int{bound - 1: i, bound: i, bound + 1: i + 1} {
			var times api.Times
			times.Add(d)
			if times.Counts[want] != 1 || times.Micros != uint64(d.Microseconds()) {
				t.Errorf("Add(%v) = %+v, want it at %d", d, times, want)
			}
		}
	}
	var times api.Times
	times.Add(-time.Second) // a clock that was set back
	times.Add(time.Hour)
	if times.Counts[0] != 1 || times.Counts[api.TimesBuckets-1] != 1 || times.Micros != 3600e6 {
		t.Errorf("times = %+v", times)
	}
}

func BenchmarkTimesAdd(b *testing.B) {
	b.ReportAllocs()
	var times api.Times
	for b.Loop() {
		times.Add(30 * time.Millisecond)
	}
}
