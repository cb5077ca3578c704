// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"bytes"
	"testing"

	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// TestGatheringWipes: of the frames of a script, which may hold a PIN, nothing is left when the rest does not come.
func TestGatheringWipes(t *testing.T) {
	var g gathering
	var buffers [][]byte
	for range 3 {
		frame := bytes.Repeat([]byte("12345678"), 10_000)
		if _, _, whole, err := g.gather(wire.Header{Type: wire.TypeScript, Seq: 2, Flags: wire.FlagMore}, frame); err != nil || whole {
			t.Fatalf("gather: %v, %v", whole, err)
		}
		buffers = append(buffers, g.payload)
	}
	g.drop()
	for i, buffer := range buffers {
		if bytes.Contains(buffer, []byte("12345678")) {
			t.Errorf("after frame %d the PIN is in a buffer that nobody has wiped", i+1)
		}
	}
}
