// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"testing"
)

// TestGatheringWipes: of the frames of a script, which may hold a PIN, nothing is left when the rest does not come.
func TestGatheringWipes(t *testing.T) {
	g := Gathering{Max: 256 << 10}
	var buffers [][]byte
	for range 3 {
		frame := bytes.Repeat([]byte("12345678"), 10_000)
		if _, _, whole, err := g.Gather(Header{Type: TypeScript, Seq: 2, Flags: FlagMore}, frame); err != nil || whole {
			t.Fatalf("Gather: %v, %v", whole, err)
		}
		buffers = append(buffers, g.payload)
	}
	g.Drop()
	for i, buffer := range buffers {
		if bytes.Contains(buffer, []byte("12345678")) {
			t.Errorf("after frame %d the PIN is in a buffer that nobody has wiped", i+1)
		}
	}
}
