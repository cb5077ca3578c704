// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics counts what the broker does, in the format of Prometheus; docs/metrics.md lists each name. It owns the
// counters, and knows which tunnels belong to which tenant and agent, so that no agent counts for others. It has no loop: to
// count is an atomic addition. Labels are tenants, and words that stand in the program: never users, sessions or cards.
package metrics

import (
	"cmp"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// Config is what is asked when somebody wants to see the metrics. None of it may wait.
type Config struct {
	Version string
	Agents  func() []cardbroker.Agent
	Links   func() int
}

// Metrics are the counters of one broker. Make it with [New].
type Metrics struct {
	registry *prometheus.Registry
	agents   func() []cardbroker.Agent
	tunnels  *table

	lookups  *prometheus.CounterVec
	refused  *prometheus.CounterVec
	events   *prometheus.CounterVec
	commits  prometheus.Histogram
	failures prometheus.Counter
	forwards prometheus.Counter
	forward  prometheus.Gauge
}

// New returns counters that stand at zero, in a registry of their own.
func New(cfg Config) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry: prometheus.NewPedanticRegistry(),
		agents:   cfg.Agents,
		tunnels:  newTable(),
		lookups:  counter("cardbroker_lookups_total", "Requests for the caller's own agent.", "result"),
		refused:  counter("cardbroker_callers_refused_total", "Callers that the broker turned away, at any of its doors.", "rule"),
		events:   counter("cardbroker_events_total", "Events that were handed to the audit log.", "event"),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "cardbroker_registry_commit_seconds",
			Help: "Time of a commit of the registry, with its fsync.", Buckets: seconds()}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "cardbroker_registry_commit_failures_total",
			Help: "Commits of the registry that failed."}),
		forwards: prometheus.NewCounter(prometheus.CounterOpts{Name: "cardbroker_forwards_total",
			Help: "Connections of browsers that were passed on to agents."}),
		forward: prometheus.NewGauge(prometheus.GaugeOpts{Name: "cardbroker_forwards",
			Help: "Connections of browsers that are being passed on to agents."}),
	}
	for _, result := range []string{found, string(cardbroker.NoAgent), string(cardbroker.SessionAmbiguous), string(cardbroker.AgentRestarting), other} {
		m.lookups.WithLabelValues(result)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "cardbroker_build_info", Help: "Which program this is; always 1.",
		ConstLabels: prometheus.Labels{"version": cfg.Version, "go_version": runtime.Version()}})
	build.Set(1)
	links := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cardbroker_links", Help: "Agents whose link to the broker is up."},
		func() float64 { return float64(cfg.Links()) })
	m.registry.MustRegister(m, m.tunnels, m.lookups, m.refused, m.events, m.commits, m.failures, m.forwards, m.forward, build, links,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(m.tunnels.vec.collectors()...)
	return m
}

// seconds returns the bounds of all histograms.
func seconds() []float64 {
	bounds := api.TimesBounds()
	s := make([]float64, len(bounds))
	for i, bound := range bounds {
		s[i] = bound.Seconds()
	}
	return s
}

// Serve answers a request for the metrics. Who may ask, the caller has decided.
func (m *Metrics) Serve(w http.ResponseWriter, r *http.Request) error {
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}).ServeHTTP(w, r)
	return nil
}

// Gatherer returns what the metrics are read from.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Words of labels that come from nowhere else.
const (
	found = "found"
	other = "other"
)

// LookedUp counts a look-up of a caller's own agent, which ended with err.
func (m *Metrics) LookedUp(err error) {
	result := found
	if err != nil {
		switch result = string(cardbroker.ReasonOf(err)); cardbroker.Reason(result) {
		case cardbroker.NoAgent, cardbroker.SessionAmbiguous, cardbroker.AgentRestarting:
		default:
			result = other
		}
	}
	m.lookups.WithLabelValues(result).Inc()
}

// CallerRefused counts a caller that the broker itself turned away.
func (m *Metrics) CallerRefused(rule cardbroker.Rule) {
	m.refused.WithLabelValues(string(cmp.Or(rule, other))).Inc()
}

// Recorded counts an event of the broker's own.
func (m *Metrics) Recorded(name cardbroker.EventName) { m.events.WithLabelValues(string(name)).Inc() }

// Said counts an event that an agent tells of: by its name, if agents may tell of such.
func (m *Metrics) Said(name cardbroker.EventName) {
	if !name.ByAgents() && name != cardbroker.EventCallerRefused {
		name = other
	}
	m.events.WithLabelValues(string(name)).Inc()
}

// Committed counts a commit of the registry.
func (m *Metrics) Committed(took time.Duration, err error) {
	m.commits.Observe(took.Seconds())
	if err != nil {
		m.failures.Inc()
	}
}

// Forwarded counts a browser's connection that is passed on until ended is called.
func (m *Metrics) Forwarded() (ended func()) {
	m.forwards.Inc()
	m.forward.Inc()
	return m.forward.Dec
}
