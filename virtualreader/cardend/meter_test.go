// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

func TestMeter(t *testing.T) {
	var said []api.Usage
	m := newMeter(Tunnel{Tenant: "issuer", Report: func(u api.Usage) { said = append(said, u) }})
	now := time.Now()
	m.tick(now)
	m.flush()
	if said != nil {
		t.Fatalf("a tunnel without commands reports %+v", said)
	}
	m.answered(now, time.Microsecond, 20*time.Millisecond)
	m.answered(now.Add(time.Second), time.Millisecond, time.Hour)
	m.failed(now, cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, "no"))
	m.failed(now, cardbroker.Errorf(cardbroker.Indeterminate, "who knows"))
	m.failed(now, cardbroker.Errorf(cardbroker.CardAbsent, "the card's business"))
	m.tick(now.Add(meterInterval - 1))
	if said != nil {
		t.Fatalf("reported too early: %+v", said)
	}
	m.tick(now.Add(meterInterval))
	m.tick(now.Add(2 * meterInterval))
	m.flush()
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
	m.answered(now, 0, 0)
	m.flush()
	if len(said) != 2 || said[1].Commands != 1 || said[1].Refused != nil {
		t.Errorf("the second report = %+v, want what came since the first", said[1:])
	}
}

// What a command's measurement costs.
func BenchmarkMeter(b *testing.B) {
	b.ReportAllocs()
	m := newMeter(Tunnel{Report: func(api.Usage) {}})
	now := time.Now()
	for b.Loop() {
		m.tick(now)
		m.answered(now, 40*time.Microsecond, 30*time.Millisecond)
	}
}
