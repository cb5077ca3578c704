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

// TestGathering: the frames of whatever may have several are joined; a frame that does not go on with them is refused.
func TestGathering(t *testing.T) {
	for kind := TypeHello; kind <= lastType; kind++ {
		g := Gathering{Max: 6}
		first, last := Header{Type: kind, Seq: 2, Flags: FlagMore}, Header{Type: kind, Seq: 2}
		if flagsOf(kind)&FlagMore == 0 {
			if _, got, whole, err := g.Gather(last, []byte("ab")); err != nil || !whole || string(got) != "ab" {
				t.Errorf("type %d: %q, %v, %v, want the frame as it is", kind, got, whole, err)
			}
			continue
		}
		frame := []byte("abc")
		_, _, whole, err := g.Gather(first, frame)
		clear(frame) // as the stream does
		if err != nil || whole {
			t.Errorf("type %d: the first frame is whole: %v, %v", kind, whole, err)
		}
		for _, wrong := range []Header{{Type: kind, Seq: 3}, {Type: TypeSecret, Seq: 2}, {Type: kind, Seq: 2, Reader: 1}} {
			if _, _, _, err := g.Gather(wrong, []byte("d")); err == nil {
				t.Errorf("type %d: %+v goes on with it", kind, wrong)
			}
		}
		if _, _, _, err := g.Gather(last, []byte("defg")); err == nil {
			t.Errorf("type %d: more than Max is taken", kind)
		}
		if _, got, whole, err := g.Gather(last, []byte("def")); err != nil || !whole || string(got) != "abcdef" {
			t.Errorf("type %d: %q, %v, %v, want the whole", kind, got, whole, err)
		}
	}
}
