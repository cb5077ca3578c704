// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc_test

import (
	"slices"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// BenchmarkTransmit measures 300 bytes to a card behind a real service and back, in this process.
func BenchmarkTransmit(b *testing.B) {
	bed := newBed(b)
	bed.insert(pcscbed.Card{})
	card := bed.connect(cardbroker.ShareShared)
	echo := append([]byte{0x80, 0xEE, 0, 0, 0, 300 >> 8, 300 & 0xFF}, make([]byte, 300)...)
	buf := make([]byte, 0, 512)
	var took []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if _, err := card.Transmit(buf, echo); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
