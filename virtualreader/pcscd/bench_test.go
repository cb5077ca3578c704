// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"slices"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// BenchmarkCall measures what a call of a client takes that speaks the protocol, with the software card.
func BenchmarkCall(b *testing.B) {
	const name = "cardbroker Software Reader 00 00"
	echo := append([]byte{0x80, 0xEE, 0, 0, 16}, make([]byte, 16)...)
	long := append([]byte{0x80, 0xEE, 0, 0, 250}, make([]byte, 250)...)
	var p *speaker
	var h uint32
	for _, call := range []struct {
		name string
		do   func()
	}{
		{"transmit 16", func() { p.transmit(h, echo, 65548) }},
		{"transmit 250", func() { p.transmit(h, long, 65548) }},
		{"list", func() { p.states() }},
		{"status", func() { p.status(h) }},
		{"begin and end", func() { p.begin(h); p.end(h, leave) }},
		{"connect and disconnect", func() {
			h, _, _ := p.tryConnect(name, shared, either)
			p.disconnect(h, leave)
		}},
	} {
		b.Run(call.name, func(b *testing.B) {
			p = enter(b, serve(b, pcscd.Config{Source: softReader(b)}))
			h = p.connect(name)
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				call.do()
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-µs")
		})
	}
}
