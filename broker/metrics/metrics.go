// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics counts what the broker does, in the text format of Prometheus; docs/metrics.md lists each name. It owns the
// counters, and knows which tunnels belong to which tenant and agent, so that no agent counts for others. It has no loop: to
// count is an atomic addition. Labels are tenants, and words that stand in the program: never users, sessions or cards.
//
// It writes that format itself, and tests have client_golang read it: linked into the program, that library's global
// variables would cost every agent 0.4 MiB, who has no metrics.
package metrics

import (
	"cmp"
	"io"
	"net/http"
	"runtime"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Config is what is asked when somebody wants to see the metrics. None of it may wait.
type Config struct {
	Version string
	Agents  func() []cardbroker.Agent
	Links   func() int
}

// Metrics are the counters of one broker. Make it with [New].
type Metrics struct {
	cfg     Config
	began   time.Time
	tunnels *table

	lookups  *numbers
	refused  *numbers
	events   *numbers
	commits  times
	failures *numbers
	forwards *numbers
	forward  *numbers
}

// New returns counters that stand at zero.
func New(cfg Config) *Metrics {
	m := &Metrics{
		cfg:      cfg,
		began:    time.Now(),
		tunnels:  newTable(),
		lookups:  newNumbers("cardbroker_lookups_total", isCounter, "Requests for the caller's own agent.", "result"),
		refused:  newNumbers("cardbroker_callers_refused_total", isCounter, "Callers that the broker turned away, at any of its doors.", "rule"),
		events:   newNumbers("cardbroker_events_total", isCounter, "Events that were handed to the audit log.", "event"),
		failures: newNumbers("cardbroker_registry_commit_failures_total", isCounter, "Commits of the registry that failed."),
		forwards: newNumbers("cardbroker_forwards_total", isCounter, "Connections of browsers that were passed on to agents."),
		forward:  newNumbers("cardbroker_forwards", isGauge, "Connections of browsers that are being passed on to agents."),
	}
	for _, result := range []string{found, string(cardbroker.NoAgent), string(cardbroker.SessionAmbiguous), string(cardbroker.AgentRestarting), other} {
		m.lookups.with(result)
	}
	for _, alone := range []*numbers{m.failures, m.forwards, m.forward} {
		alone.with()
	}
	return m
}

// Serve answers a request for the metrics. Who may ask, the caller has decided.
func (m *Metrics) Serve(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	io.WriteString(w, m.Text())
	return nil
}

// Text returns the metrics, in the text format of Prometheus.
func (m *Metrics) Text() string {
	var t text
	m.agents(&t)
	t.begin(family{name: "cardbroker_build_info", kind: isGauge, help: "Which program this is; always 1."})
	t.line("cardbroker_build_info", []string{"go_version", "version"}, values{runtime.Version(), m.cfg.Version}, "", 1)
	t.single("cardbroker_links", isGauge, "Agents whose link to the broker is up.", float64(m.cfg.Links()))
	for _, n := range []*numbers{m.refused, m.events, m.forward, m.forwards, m.lookups, m.failures} {
		t.numbers(n)
	}
	commits := family{name: "cardbroker_registry_commit_seconds", kind: isHistogram, help: "Time of a commit of the registry, with its fsync."}
	t.begin(commits)
	t.histogram(commits, values{}, &m.commits)
	m.tunnels.text(&t)
	t.single("go_goroutines", isGauge, "Goroutines of this process.", float64(runtime.NumGoroutine()))
	t.single("process_start_time_seconds", isGauge, "When the broker began, in seconds since 1970.", float64(m.began.UnixMilli())/1e3)
	t.process()
	return t.String()
}

// agents writes how many agents there are.
func (m *Metrics) agents(t *text) {
	agents := newNumbers("cardbroker_agents", isGauge, "Agents of the host's sessions.", "state")
	for _, state := range []cardbroker.State{cardbroker.Reserved, cardbroker.Registered, cardbroker.Stale} {
		agents.with(string(state))
	}
	for _, agent := range m.cfg.Agents() {
		agents.with(string(agent.State)).Add(1)
	}
	t.numbers(agents)
}

// Words of labels that come from nowhere else.
const (
	found = "found"
	other = "other"
)

// LookedUp counts a look-up of a caller's own agent, which ended with err.
func (m *Metrics) LookedUp(err error) {
	result := found
	if err != nil {
		switch reason := cardbroker.ReasonOf(err); reason {
		case cardbroker.NoAgent, cardbroker.SessionAmbiguous, cardbroker.AgentRestarting:
			result = string(reason)
		default:
			result = other
		}
	}
	m.lookups.with(result).Add(1)
}

// CallerRefused counts a caller that the broker itself turned away.
func (m *Metrics) CallerRefused(rule cardbroker.Rule) {
	m.refused.with(string(cmp.Or(rule, other))).Add(1)
}

// Recorded counts an event of the broker's own.
func (m *Metrics) Recorded(name cardbroker.EventName) { m.events.with(string(name)).Add(1) }

// Said counts an event that an agent tells of: by its name, if agents may tell of such.
func (m *Metrics) Said(name cardbroker.EventName) {
	if !name.ByAgents() && name != cardbroker.EventCallerRefused {
		name = other
	}
	m.events.with(string(name)).Add(1)
}

// Committed counts a commit of the registry.
func (m *Metrics) Committed(took time.Duration, err error) {
	m.commits.observe(took)
	if err != nil {
		m.failures.with().Add(1)
	}
}

// Forwarded counts a browser's connection that is passed on until ended is called.
func (m *Metrics) Forwarded() (ended func()) {
	m.forwards.with().Add(1)
	m.forward.with().Add(1)
	return func() { m.forward.with().Add(-1) }
}
