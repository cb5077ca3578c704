// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/audit"
)

// BenchmarkRecord measures what a caller waits for, and how long it takes until a burst is on the disk.
func BenchmarkRecord(b *testing.B) {
	l := newLog(b)
	const burst = 1000
	var calls, flushes []time.Duration
	for b.Loop() {
		for range burst {
			begun := time.Now()
			l.Record(nil, cardbroker.Event{Name: cardbroker.EventAdmin, Detail: "a detail of the usual length, perhaps"})
			calls = append(calls, time.Since(begun))
		}
		begun := time.Now()
		if err := l.Flush(context.Background()); err != nil {
			b.Fatal(err)
		}
		flushes = append(flushes, time.Since(begun))
	}
	b.ReportMetric(float64(b.N*burst)/b.Elapsed().Seconds(), "events/s")
	for name, all := range map[string][]time.Duration{"record": calls, "flush": flushes} {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Nanoseconds())/1e3, name+"-p50-us")
		b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds())/1e3, name+"-p99-us")
	}
	if lost := l.Status().Lost; lost > 0 {
		b.Errorf("%d events lost", lost)
	}
}

// BenchmarkOne measures one event with its fsync.
func BenchmarkOne(b *testing.B) {
	l := newLog(b)
	for b.Loop() {
		l.Record(nil, cardbroker.Event{Name: cardbroker.EventAdmin})
		if err := l.Flush(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerify measures lines a second.
func BenchmarkVerify(b *testing.B) {
	l := newLog(b)
	const records = 100_000
	for range records / 1000 {
		for range 1000 {
			l.Record(nil, cardbroker.Event{Name: cardbroker.EventTunnelOpened, Tenant: "issuer", Tunnel: "0123456789abcdef0123456789abcdef", Method: "token", Address: "192.0.2.7:40000"})
		}
		l.flush()
	}
	l.stop()
	b.ReportAllocs()
	for b.Loop() {
		report, err := audit.Verify{Dir: l.cfg.Dir}.Run(context.Background())
		if err != nil || !report.OK || report.Records != records {
			b.Fatal(report, err)
		}
	}
	b.ReportMetric(float64(records*b.N)/b.Elapsed().Seconds(), "lines/s")
}
