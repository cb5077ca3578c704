// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestGoals(t *testing.T) {
	m := measured{ours: []float64{10, 20, 90}, limit: &limit{Name: "l", P50: 10}, ratios: []float64{3, 1, 2}}
	for _, c := range []struct {
		goal goal
		met  bool
		text string
	}{
		{goal{ofP50, 20}, true, "p50 ≤ 20 ms"},
		{goal{ofP50, 19}, false, "p50 ≤ 19 ms"},
		{goal{ofP99, 90}, true, "p99 ≤ 90 ms"},
		{goal{ofMax, 89}, false, "max ≤ 89 ms"},
		{goal{ofRatio, 2}, true, "ratio ≤ 2"},
		{goal{ofRatio, 1.9}, false, "ratio ≤ 1.9"},
		{goal{ofExcess, 10}, true, "p50 - limit ≤ 10 ms"},
		{goal{ofExcess, 9}, false, "p50 - limit ≤ 9 ms"},
	} {
		r := newReport()
		r.add(row{"r", "ms", c.goal}, m)
		if got := r.Rows[0]; got.Met != c.met || got.Goal != c.text {
			t.Errorf("%v: met %v, goal %q, want %v, %q", c.goal, got.Met, got.Goal, c.met, c.text)
		}
	}
}

// TestReportIsAsTheContractSays writes a report and looks at its JSON.
func TestReportIsAsTheContractSays(t *testing.T) {
	r := newReport()
	r.add(row{"absolute", "ms", goal{ofMax, 1}}, measured{ours: []float64{0.5}})
	r.add(row{"compared", "µs", goal{ofRatio, 1.25}}, measured{
		ours: []float64{50, 60}, limit: &limit{Name: "the limit", P50: 45}, ratios: []float64{1.3, 1.2, 1.1},
	})
	r.add(row{"not here", "MiB", goal{ofMax, 9}}, measured{skip: "needs root"})
	file := t.TempDir() + "/build/bench.json"
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Rows, Machine json.RawMessage }
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	const want = `[{"row":"absolute","unit":"ms","ours":{"p50":0.5,"p99":0.5,"min":0.5,"max":0.5},"limit":null,"ratio":null,` +
		`"goal":"max ≤ 1 ms","met":true},` +
		`{"row":"compared","unit":"µs","ours":{"p50":50,"p99":60,"min":50,"max":60},"limit":{"name":"the limit","p50":45},` +
		`"ratio":{"min":1.1,"median":1.2,"max":1.3},"goal":"ratio ≤ 1.25","met":true}]`
	var rows bytes.Buffer
	if err := json.Compact(&rows, got.Rows); err != nil || rows.String() != want {
		t.Errorf("rows = %s, %v\nwant   %s", &rows, err, want)
	}
	if len(got.Machine) < 3 {
		t.Errorf("machine = %s, want an object", got.Machine)
	}
	var table bytes.Buffer
	r.table(&table)
	for _, want := range []string{"absolute", "45 (the limit)", "1.20", "skipped: not here: needs root"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &table)
		}
	}
}

func TestVerdict(t *testing.T) {
	good, bad := measured{ours: []float64{1}}, measured{ours: []float64{3}}
	slow := measured{ours: []float64{1}, limit: &limit{Name: "TCP", P50: 1}, ratios: []float64{1.5}}
	for _, c := range []struct {
		name string
		row  string
		goal goal
		m    measured
		want string
	}{
		{"met", "memory", goal{ofMax, 2}, good, ""},
		{"skipped", "memory", goal{ofMax, 2}, measured{skip: "needs root"}, ""},
		{"missed", "memory", goal{ofMax, 2}, bad, "goal missed: memory"},
		{"slow baseline", rowBaseline, goal{ofRatio, 1.3}, slow, "the bench itself failed"},
	} {
		r := newReport()
		r.add(row{c.row, "MiB", c.goal}, c.m)
		err := r.verdict()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: verdict() = %v, want %q", c.name, err, c.want)
		}
	}
}

// TestRowNames holds the words by which others find the rows.
func TestRowNames(t *testing.T) {
	var names []string
	for _, section := range (&bench{}).sections() {
		for _, row := range section.rows {
			names = append(names, row.name)
		}
	}
	all := strings.Join(names, "\n")
	for _, word := range []string{"storm", "stall", "lookup", "tunnel", "sandbox", "memory", "start", "switches", "PC/SC", "ATR", "idle"} {
		if !strings.Contains(all, word) {
			t.Errorf("no row is named with the word %q:\n%s", word, all)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		args []string
		ok   bool
	}{
		{nil, true},
		{[]string{"--quick"}, true},
		{[]string{"--rows", "tunnel|start", "--quick"}, true},
		{[]string{"--rows"}, false},
		{[]string{"--rows", "("}, false},
		{[]string{"--slow"}, false},
	} {
		if err := (&bench{}).parse(c.args); (err == nil) != c.ok {
			t.Errorf("parse(%q) = %v, want no error: %v", c.args, err, c.ok)
		}
	}
}
