// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// header draws a header that Parse accepts.
func header(t *rapid.T) wire.Header {
	kind := wire.Type(rapid.IntRange(int(wire.TypeHello), int(wire.TypeReturn)).Draw(t, "type"))
	flags := map[wire.Type]uint16{wire.TypeScript: wire.FlagMore | wire.FlagJudge, wire.TypeScriptResult: wire.FlagMore,
		wire.TypeCall: wire.FlagMore, wire.TypeReturn: wire.FlagMore}[kind]
	return wire.Header{
		Type:   kind,
		Flags:  rapid.Uint16().Draw(t, "flags") & flags,
		Reader: rapid.Uint32().Draw(t, "reader"),
		Seq:    rapid.Uint64().Draw(t, "seq"),
		Ack:    rapid.Uint64().Draw(t, "ack"),
	}
}

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, payload := header(t), rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "payload")
		frame := wire.Append([]byte("before"), want, payload)[len("before"):]
		got, rest, err := wire.Parse(frame)
		if err != nil || got != want || !bytes.Equal(rest, payload) {
			t.Errorf("Parse(Append(%+v, % x)) = %+v, % x, %v", want, payload, got, rest, err)
		}
	})
}

// TestFrameBytes holds the layout that other programs read.
func TestFrameBytes(t *testing.T) {
	frame := wire.Append(nil, wire.Header{Type: wire.TypeAPDU, Reader: 0x01020304, Seq: 5, Ack: 6}, []byte{0xAA})
	const want = "010f" + "0000" + "01020304" + "0000000000000005" + "0000000000000006" + "aa"
	if got := hex.EncodeToString(frame); got != want {
		t.Errorf("Append = %s, want %s", got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	good := wire.Append(nil, wire.Header{Type: wire.TypeBegin, Seq: 1}, nil)
	changed := func(i int, b byte) []byte {
		frame := bytes.Clone(good)
		frame[i] = b
		return frame
	}
	tests := []struct {
		name  string
		frame []byte
	}{
		{"nothing", nil},
		{"a short header", good[:wire.HeaderSize-1]},
		{"version 0", changed(0, 0)},
		{"version 2", changed(0, 2)},
		{"type 0", changed(1, 0)},
		{"the type after the last", changed(1, byte(wire.TypeReturn)+1)},
		{"type 255", changed(1, 255)},
		{"a flag", changed(2, 0x80)},
		{"another flag", changed(3, 1)},
		{"one byte too many", append(bytes.Clone(good), make([]byte, wire.MaxPayload+1)...)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, _, err := wire.Parse(test.frame); cardbroker.ReasonOf(err) != cardbroker.Invalid {
				t.Errorf("Parse = %v, want %s", err, cardbroker.Invalid)
			}
		})
	}
	if _, p, err := wire.Parse(append(bytes.Clone(good), make([]byte, wire.MaxPayload)...)); err != nil || len(p) != wire.MaxPayload {
		t.Errorf("Parse of the longest frame = %d bytes, %v", len(p), err)
	}
}

func TestAppendPanicsOverLimit(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Append of a payload over the limit did not panic")
		}
	}()
	wire.Append(nil, wire.Header{Type: wire.TypeAPDU}, make([]byte, wire.MaxPayload+1))
}

func FuzzParse(f *testing.F) {
	f.Add(wire.Append(nil, wire.Header{Type: wire.TypeAPDU, Seq: 1}, []byte{0, 0xA4, 4, 0}))
	f.Add(wire.Append(nil, wire.Header{Type: wire.TypeCardOut, Reader: 1}, nil))
	f.Add([]byte{1, 99})
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, payload, err := wire.Parse(frame)
		if err != nil {
			if cardbroker.ReasonOf(err) != cardbroker.Invalid {
				t.Errorf("Parse = %v, want %s", err, cardbroker.Invalid)
			}
			return
		}
		if again := wire.Append(nil, h, payload); !bytes.Equal(again, frame) {
			t.Errorf("Append(Parse(% x)) = % x", frame, again)
		}
	})
}
