// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/metrics"
)

// used returns metrics in which every name has a line.
func used() *metrics.Metrics {
	m := newMetrics()
	open(m, "acme", alices).Ended()
	m.TunnelRefused("acme", cardbroker.Errorf(cardbroker.ReaderBusy, "no"))
	m.CallerRefused(cardbroker.RuleToken)
	m.Recorded(cardbroker.EventBrokerStarted)
	return m
}

// families returns what a program of Prometheus's own reads in the metrics.
func families(t *testing.T, m *metrics.Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	read, err := parser.TextToMetricFamilies(strings.NewReader(m.Text()))
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// TestDocs holds docs/metrics.md against what is served: each name with its type and its labels. Names are the contract with
// dashboards: who changes one changes that page.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var served, documented []string
	for _, family := range families(t, used()) {
		if strings.HasPrefix(family.GetName(), "go_") || strings.HasPrefix(family.GetName(), "process_") {
			continue
		}
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, label.GetName())
		}
		slices.Sort(labels)
		served = append(served, family.GetName()+" "+strings.ToLower(family.GetType().String())+" "+strings.Join(labels, ","))
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(cardbroker_[a-z_]+)` \\| ([a-z]+) \\| ([a-z_, ]*)\\| [^|]+ \\|$").FindAllStringSubmatch(string(page), -1) {
		labels := strings.FieldsFunc(row[3], func(r rune) bool { return r == ',' || r == ' ' })
		slices.Sort(labels)
		documented = append(documented, row[1]+" "+row[2]+" "+strings.Join(labels, ","))
	}
	for _, line := range served {
		if !slices.Contains(documented, line) {
			t.Errorf("docs/metrics.md does not have %q", line)
		}
	}
	for _, line := range documented {
		if !slices.Contains(served, line) {
			t.Errorf("docs/metrics.md has %q, which is not served", line)
		}
	}
}

// TestNames holds the names against the conventions of Prometheus.
func TestNames(t *testing.T) {
	problems, err := promlint.New(strings.NewReader(used().Text())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestHistogram has the numbers of a histogram read.
func TestHistogram(t *testing.T) {
	m := newMetrics()
	open(m, "acme", alices)
	m.Used(alices, usage("acme", 3))
	h := families(t, m)["cardbroker_command_card_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 3 || h.GetSampleSum() != 0.09 {
		t.Errorf("three times 30 ms are %v", h)
	}
	for _, bucket := range h.GetBucket() {
		want := uint64(0)
		if bucket.GetUpperBound() >= 0.03 {
			want = 3
		}
		if bucket.GetCumulativeCount() != want {
			t.Errorf("%d took at most %v s, want %d", bucket.GetCumulativeCount(), bucket.GetUpperBound(), want)
		}
	}
}
