// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import "time"

// How many refusals of one tunnel are told of, each with the number of those before it that were not.
const (
	tellBurst = 8           // at once
	tellEvery = time.Second // and one more in so long; of one rule no more often than that
)

// Tally says which refusals, or other things that a back end can do all the time, are worth an event: it shall not flood the log. The
// zero value is ready. One goroutine uses it.
type Tally struct {
	rules map[string]*tallied // by place; as many as there are rules
	told  int                 // events that count against the burst
	since time.Time           // when told was put right last
}

type tallied struct {
	untold uint64
	last   time.Time
}

// Refused counts a refusal by the rule at a place. It returns 0, or how many refusals by that rule are to be told of now.
func (t *Tally) Refused(place string, now time.Time) (count uint64) {
	if t.rules == nil {
		t.rules = make(map[string]*tallied)
	}
	rule := t.rules[place]
	if rule == nil {
		rule = new(tallied)
		t.rules[place] = rule
	}
	rule.untold++
	if back := now.Sub(t.since) / tellEvery; back > 0 {
		t.told, t.since = max(0, t.told-int(min(back, tellBurst))), now
	}
	if t.told == tellBurst || !rule.last.IsZero() && now.Sub(rule.last) < tellEvery {
		return 0
	}
	t.told++
	count, rule.untold, rule.last = rule.untold, 0, now
	return count
}

// Rest returns how many refusals were not told of.
func (t *Tally) Rest() (count uint64) {
	for _, rule := range t.rules {
		count += rule.untold
	}
	return count
}
