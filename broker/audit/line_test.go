// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
)

// FuzzParseLine: the parser never panics, takes what seal writes, and what it takes has one spelling only.
func FuzzParseLine(f *testing.F) {
	line, _ := seal(cardbroker.Anchor{}, Record{Time: time.Unix(0, 0).UTC(), Event: cardbroker.Event{Name: cardbroker.EventAdmin, Detail: "x"}, By: byBroker})
	f.Add(bytes.TrimSuffix(line, []byte("\n")))
	f.Add(bytes.TrimSuffix(header(cardbroker.Anchor{Seq: 7}), []byte("\n")))
	f.Add([]byte(`{"seq":01,"time":"","event":"x","hash":"`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if l, err := parseLine(text); err == nil {
			again := append(bytes.Clone(l.body), lineHash...)
			again = appendHex(again, l.Hash)
			again = append(again, lineEnd...)
			if !bytes.Equal(again, text) || l.Seq == 0 || l.Seq >= math.MaxInt64 {
				t.Errorf("%q is taken, and written again %q", text, again)
			}
		}
		if prev, err := parseHeader(text); err == nil && !bytes.Equal(header(prev), append(bytes.Clone(text), '\n')) {
			t.Errorf("the header %q is taken, and written again %q", text, header(prev))
		}
	})
}

// FuzzSeal: whatever an event says, it is one line, which is parsed again and says the same; two events have two hashes.
func FuzzSeal(f *testing.F) {
	f.Add("admin", "detail\n\x1b\xff", "reader", uint64(7))
	f.Fuzz(func(t *testing.T, name, detail, reader string, seq uint64) {
		e := clean(cardbroker.Event{Name: "admin", Detail: detail, Reader: reader, Tenant: cardbroker.Tenant(name)})
		if name == "" {
			return
		}
		prev := cardbroker.Anchor{Seq: seq % (math.MaxInt64 - 1)}
		line, at := seal(prev, Record{Time: time.Now().UTC(), Event: e, By: byAgent})
		if bytes.Count(line, []byte("\n")) != 1 || len(line) > maxLine || !json.Valid(line) {
			t.Fatalf("the line is %q", line)
		}
		l, err := parseLine(line[:len(line)-1])
		if err != nil || l.Anchor != at || follows(prev, l) != nil {
			t.Errorf("%q is parsed as %v, %v", line, l.Anchor, err)
		}
		var r Record
		if err := json.Unmarshal(line, &r); err != nil || r.Event != e {
			t.Errorf("%q says %+v, want %+v", line, r.Event, e)
		}
	})
}

func appendHex(to []byte, hash [32]byte) []byte {
	const digits = "0123456789abcdef"
	for _, b := range hash {
		to = append(to, digits[b>>4], digits[b&15])
	}
	return to
}
