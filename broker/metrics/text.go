// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker/api"
)

// Kinds of a family.
const (
	isCounter   = "counter"
	isGauge     = "gauge"
	isHistogram = "histogram"
)

// family is a name with what it means; its lines differ by the values of its labels.
type family struct {
	name, kind, help string
	labels           []string // at most two
}

// values are those of a family's labels; the rest is empty.
type values [2]string

// numbers are the lines of a counter or gauge.
type numbers struct {
	family
	mu sync.Mutex // guards by; held for a map look-up, or a copy
	by map[values]*atomic.Int64
}

func newNumbers(name, kind, help string, labels ...string) *numbers {
	return &numbers{family: family{name, kind, help, labels}, by: make(map[values]*atomic.Int64)}
}

// with returns the number of a line, which is there from then on.
func (n *numbers) with(of ...string) *atomic.Int64 {
	var key values
	copy(key[:], of)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.by[key] == nil {
		n.by[key] = new(atomic.Int64)
	}
	return n.by[key]
}

func (n *numbers) lines() map[values]*atomic.Int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.by)
}

// times is a histogram of durations.
type times struct {
	counts [api.TimesBuckets]atomic.Uint64
	micros atomic.Uint64
}

func (t *times) observe(d time.Duration) {
	var one api.Times
	one.Add(d)
	t.add(one)
}

func (t *times) add(more api.Times) {
	for i, n := range more.Counts {
		if n > 0 {
			t.counts[i].Add(uint64(n))
		}
	}
	t.micros.Add(more.Micros)
}

// text is an answer in the text format of Prometheus, version 0.0.4.
type text struct{ strings.Builder }

// begin begins a family, whose lines follow.
func (t *text) begin(f family) {
	t.WriteString("# HELP " + f.name + " " + f.help + "\n# TYPE " + f.name + " " + f.kind + "\n")
}

// line writes a value. Label values are words of the program, tenants and versions: %q would not quote one otherwise.
func (t *text) line(name string, labels []string, of values, more string, value float64) {
	t.WriteString(name)
	open := "{"
	for i, label := range labels {
		t.WriteString(open + label + "=" + strconv.Quote(of[i]))
		open = ","
	}
	if more != "" {
		t.WriteString(open + more)
		open = ","
	}
	if open == "," {
		t.WriteByte('}')
	}
	t.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

// single writes a family of one line.
func (t *text) single(name, kind, help string, value float64) {
	t.begin(family{name: name, kind: kind, help: help})
	t.line(name, nil, values{}, "", value)
}

// numbers writes a counter or a gauge; without a line it is not there.
func (t *text) numbers(n *numbers) {
	lines := n.lines()
	if len(lines) == 0 {
		return
	}
	t.begin(n.family)
	for _, key := range slices.SortedFunc(maps.Keys(lines), compareValues) {
		t.line(n.name, n.labels, key, "", float64(lines[key].Load()))
	}
}

func compareValues(a, b values) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) }

// histogram writes the lines of a histogram whose family was begun.
func (t *text) histogram(f family, of values, h *times) {
	var n uint64
	bucket := func(le string, more uint64) {
		n += more
		t.line(f.name+"_bucket", f.labels, of, "le="+strconv.Quote(le), float64(n))
	}
	for i, bound := range api.TimesBounds() {
		bucket(strconv.FormatFloat(bound.Seconds(), 'g', -1, 64), h.counts[i].Load())
	}
	bucket("+Inf", h.counts[api.TimesBuckets-1].Load())
	t.line(f.name+"_sum", f.labels, of, "", float64(h.micros.Load())/1e6)
	t.line(f.name+"_count", f.labels, of, "", float64(n))
}
