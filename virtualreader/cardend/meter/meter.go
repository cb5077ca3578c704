// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package meter measures what the commands of a tunnel take.
package meter

import (
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// meterInterval is how old a measurement may become, in a tunnel that is used, before it is reported.
const meterInterval = 30 * time.Second

// Meter measures what the commands of one tunnel take, and reports it: at the tunnel's end, and with the first frame, if
// only a ping, after 30 s. What it has not reported when the connection is cut, it reports over the next. It has no timer: a tunnel in which nothing happens costs nothing. The goroutine that reads the
// tunnel owns it.
type Meter struct {
	tenant cardbroker.Tenant
	report func(api.Usage)
	usage  api.Usage // since the last report
	since  time.Time // of the first in usage; zero: there is nothing
}

// New returns the meter of a tenant's tunnel, which has report called, and that must not block. nil: nobody wants to know.
func New(tenant cardbroker.Tenant, report func(api.Usage)) *Meter {
	return &Meter{tenant: tenant, report: report}
}

// Answered counts a command that the card has answered: queue from its arrival until the card had it, card until the answer.
func (m *Meter) Answered(now time.Time, queue, card time.Duration) {
	m.begin(now)
	m.usage.Commands++
	m.usage.Queue.Add(queue)
	m.usage.Card.Add(card)
}

// Failed counts a frame that was answered with an error, if it tells of the firewall or of a command that may have run.
func (m *Meter) Failed(now time.Time, err error) {
	rule := cardbroker.RuleOf(err)
	switch {
	case rule != "":
		m.begin(now)
		if m.usage.Refused == nil {
			m.usage.Refused = make(map[cardbroker.Rule]uint32)
		}
		m.usage.Refused[rule]++
	case cardbroker.ReasonOf(err) == cardbroker.Indeterminate:
		m.begin(now)
		m.usage.Indeterminate++
	}
}

func (m *Meter) begin(now time.Time) {
	if m.since.IsZero() {
		m.since = now
	}
}

// Tick reports what is old enough.
func (m *Meter) Tick(now time.Time) {
	if !m.since.IsZero() && now.Sub(m.since) >= meterInterval {
		m.Flush()
	}
}

// Flush reports what there is.
func (m *Meter) Flush() {
	if m.since.IsZero() || m.report == nil {
		return
	}
	m.usage.Tenant = m.tenant
	m.report(m.usage)
	m.usage, m.since = api.Usage{}, time.Time{}
}
