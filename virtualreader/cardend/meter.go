// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// meterInterval is how old a measurement may become, in a tunnel that is used, before it is reported.
const meterInterval = 30 * time.Second

// meter measures what the commands of one tunnel take, and reports it: at the tunnel's end, and with the first frame, if
// only a ping, after 30 s. What it has not reported when the connection is cut, it reports over the next. It has no timer: a tunnel in which nothing happens costs nothing. The goroutine that reads the
// tunnel owns it.
type meter struct {
	tenant cardbroker.Tenant
	report func(api.Usage) // must not block; nil: nobody wants to know
	usage  api.Usage       // since the last report
	since  time.Time       // of the first in usage; zero: there is nothing
}

func newMeter(t Tunnel) *meter { return &meter{tenant: t.Tenant, report: t.Report} }

// answered counts a command that the card has answered: queue from its arrival until the card had it, card until the answer.
func (m *meter) answered(now time.Time, queue, card time.Duration) {
	m.begin(now)
	m.usage.Commands++
	m.usage.Queue.Add(queue)
	m.usage.Card.Add(card)
}

// failed counts a frame that was answered with an error, if it tells of the firewall or of a command that may have run.
func (m *meter) failed(now time.Time, err error) {
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

func (m *meter) begin(now time.Time) {
	if m.since.IsZero() {
		m.since = now
	}
}

// tick reports what is old enough.
func (m *meter) tick(now time.Time) {
	if !m.since.IsZero() && now.Sub(m.since) >= meterInterval {
		m.flush()
	}
}

// flush reports what there is.
func (m *meter) flush() {
	if m.since.IsZero() || m.report == nil {
		return
	}
	m.usage.Tenant = m.tenant
	m.report(m.usage)
	m.usage, m.since = api.Usage{}, time.Time{}
}
