// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package meter

import (
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

func TestMeter(t *testing.T) {
	var said []api.Usage
	m := New("issuer", func(u api.Usage) { said = append(said, u) })
	now := time.Now()
	m.Tick(now)
	m.Flush()
	if said != nil {
		t.Fatalf("a tunnel without commands reports %+v", said)
	}
	m.Answered(now, time.Microsecond, 20*time.Millisecond)
	m.Answered(now.Add(time.Second), time.Millisecond, time.Hour)
	m.Failed(now, cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, "no"))
	m.Failed(now, cardbroker.Errorf(cardbroker.Indeterminate, "who knows"))
	m.Failed(now, cardbroker.Errorf(cardbroker.CardAbsent, "the card's business"))
	m.Tick(now.Add(meterInterval - 1))
	if said != nil {
		t.Fatalf("reported too early: %+v", said)
	}
	m.Tick(now.Add(meterInterval))
	m.Tick(now.Add(2 * meterInterval))
	m.Flush()
	if len(said) != 1 {
		t.Fatalf("%d reports, want one", len(said))
	}
	u := said[0]
	if u.Tenant != "issuer" || u.Commands != 2 || u.Indeterminate != 1 || len(u.Refused) != 1 || u.Refused[cardbroker.RuleFirewall] != 1 {
		t.Errorf("usage = %+v", u)
	}
	if u.Queue.Micros != 1001 || u.Card.Micros != 20000+3600e6 || u.Card.Counts[api.TimesBuckets-1] != 1 || u.Queue.Counts[0] != 1 {
		t.Errorf("times = %+v, %+v", u.Queue, u.Card)
	}
	m.Answered(now, 0, 0)
	m.Flush()
	if len(said) != 2 || said[1].Commands != 1 || said[1].Refused != nil {
		t.Errorf("the second report = %+v, want what came since the first", said[1:])
	}
}

// What a command's measurement costs.
func BenchmarkMeter(b *testing.B) {
	b.ReportAllocs()
	m := New("", func(api.Usage) {})
	now := time.Now()
	for b.Loop() {
		m.Tick(now)
		m.Answered(now, 40*time.Microsecond, 30*time.Millisecond)
	}
}
