// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"net"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// tenant counts what the back ends of one tenant do.
type tenant struct {
	name                    string
	open                    prometheus.Gauge
	opened, resumed         prometheus.Counter
	commands, indeterminate prometheus.Counter
	from, to                direction // the back end
	network                 prometheus.Observer
	queue, card             times
}

// direction counts one direction of tunnels.
type direction struct{ frames, bytes prometheus.Counter }

func (d direction) count(message []byte) {
	d.frames.Inc()
	d.bytes.Add(float64(len(message)))
}

// observe looks at the round trip of a connection to a back end.
func (t *tenant) observe(conn net.Conn) {
	if rtt, ok := peer.RoundTrip(conn); ok {
		t.network.Observe(rtt.Seconds())
	}
}

// vectors are what tenants' counters are made from.
type vectors struct {
	open                              *prometheus.GaugeVec
	opened, refused, frames, bytes    *prometheus.CounterVec
	commands, forbidden, undetermined *prometheus.CounterVec
	network                           *prometheus.HistogramVec
	ignored                           prometheus.Counter
}

func newVectors() vectors {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"tenant"}, labels...))
	}
	return vectors{
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "cardbroker_tunnels",
			Help: "Tunnels that are open."}, []string{"tenant"}),
		opened:       counter("cardbroker_tunnels_opened_total", "Tunnels that were opened, by a ticket or a standing offer (new), or to take up a lease (resumed).", "kind"),
		refused:      counter("cardbroker_tunnels_refused_total", "Tunnels that a back end asked for and did not get.", "reason"),
		frames:       counter("cardbroker_tunnel_frames_total", "Frames that were passed on.", "direction"),
		bytes:        counter("cardbroker_tunnel_bytes_total", "Bytes of the frames that were passed on.", "direction"),
		commands:     counter("cardbroker_commands_total", "Commands that a card has answered."),
		forbidden:    counter("cardbroker_commands_refused_total", "Commands that an agent did not let pass.", "rule"),
		undetermined: counter("cardbroker_commands_indeterminate_total", "Commands of which nobody knows whether the card has run them."),
		network: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "cardbroker_tunnel_network_seconds",
			Help: "Round trip between broker and back end, as the kernel smooths it, looked at every 20 s of a tunnel and at its end.", Buckets: seconds()}, []string{"tenant"}),
		ignored: prometheus.NewCounter(prometheus.CounterOpts{Name: "cardbroker_usage_ignored_total",
			Help: "Reports of agents that were not counted: of no tunnel of theirs, or of more than can be."}),
	}
}

// collectors returns all of them.
func (v vectors) collectors() []prometheus.Collector {
	return []prometheus.Collector{v.open, v.opened, v.refused, v.frames, v.bytes, v.commands, v.forbidden, v.undetermined, v.network, v.ignored}
}

// newTenant returns a tenant's counters.
func (v vectors) newTenant(name string) *tenant {
	direction := func(name, word string) direction {
		return direction{v.frames.WithLabelValues(name, word), v.bytes.WithLabelValues(name, word)}
	}
	v.forbidden.WithLabelValues(name, string(cardbroker.RuleFirewall))
	return &tenant{
		name:          name,
		open:          v.open.WithLabelValues(name),
		opened:        v.opened.WithLabelValues(name, "new"),
		resumed:       v.opened.WithLabelValues(name, "resumed"),
		commands:      v.commands.WithLabelValues(name),
		indeterminate: v.undetermined.WithLabelValues(name),
		from:          direction(name, "from_backend"),
		to:            direction(name, "to_backend"),
		network:       v.network.WithLabelValues(name),
	}
}

// times adds up what agents report.
type times struct {
	counts [api.TimesBuckets]atomic.Uint64
	micros atomic.Uint64
}

func (t *times) add(more api.Times) {
	for i, n := range more.Counts {
		if n > 0 {
			t.counts[i].Add(uint64(n))
		}
	}
	t.micros.Add(more.Micros)
}

// metric returns the histogram.
func (t *times) metric(desc *prometheus.Desc, tenant string) prometheus.Metric {
	buckets, n := make(map[float64]uint64, api.TimesBuckets), uint64(0)
	for i, bound := range seconds() {
		n += t.counts[i].Load()
		buckets[bound] = n
	}
	n += t.counts[api.TimesBuckets-1].Load()
	return prometheus.MustNewConstHistogram(desc, n, float64(t.micros.Load())/1e6, buckets, tenant)
}

// queueDesc and cardDesc describe the histograms of commands.
func queueDesc() *prometheus.Desc {
	return prometheus.NewDesc("cardbroker_command_queue_seconds", "Time of commands between agent and card: waiting, and on the way.", []string{"tenant"}, nil)
}

func cardDesc() *prometheus.Desc {
	return prometheus.NewDesc("cardbroker_command_card_seconds", "Time of commands in the card, and its reader.", []string{"tenant"}, nil)
}

// Describe implements prometheus.Collector.
func (t *table) Describe(descs chan<- *prometheus.Desc) {
	descs <- queueDesc()
	descs <- cardDesc()
}

// Collect implements prometheus.Collector: it makes the histograms of the tenants' commands.
func (t *table) Collect(metrics chan<- prometheus.Metric) {
	for _, tenant := range t.all() {
		metrics <- tenant.queue.metric(queueDesc(), tenant.name)
		metrics <- tenant.card.metric(cardDesc(), tenant.name)
	}
}
