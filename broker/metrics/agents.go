// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cardbroker/cardbroker"
)

// agentsDesc returns the description of what Collect counts.
func agentsDesc() *prometheus.Desc {
	return prometheus.NewDesc("cardbroker_agents", "Agents of the host's sessions.", []string{"state"}, nil)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) { descs <- agentsDesc() }

// Collect implements prometheus.Collector: it counts the agents.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	count := map[cardbroker.State]int{cardbroker.Reserved: 0, cardbroker.Registered: 0, cardbroker.Stale: 0}
	for _, agent := range m.agents() {
		count[agent.State]++
	}
	for state, n := range count {
		metrics <- prometheus.MustNewConstMetric(agentsDesc(), prometheus.GaugeValue, float64(n), string(state))
	}
}
