// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
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

// TestLongestLine: whatever an agent says, however long and however much JSON makes of it, is a line that is read again. It was over the
// longest that is read, and nothing that came after it in its file could be verified.
func TestLongestLine(t *testing.T) {
	long := strings.Repeat("<", 1000)
	now := time.Now().UTC()
	e := newEntry(&cardbroker.AgentKey{User: cardbroker.UserID{SID: "S-1-5-21-4294967295-4294967295-4294967295-4294967295"}, Session: cardbroker.SessionID(long)}, cardbroker.Event{
		Name: cardbroker.EventPINSessionEnded, Reason: cardbroker.Reason(long), Rule: cardbroker.Rule(long), Origin: cardbroker.Origin(long), Tenant: cardbroker.Tenant(long), Reader: long, Tunnel: long,
		Method: long, Address: long, Count: math.MaxUint64, Detail: long,
	}, byAgent)
	e.record.User, e.record.Told = printable(long, maxText), &now
	text, _ := seal(cardbroker.Anchor{Seq: math.MaxInt64 - 2}, e.record)
	if got, err := newLines(bytes.NewReader(text)).next(); err != nil || len(got)+1 != len(text) {
		t.Errorf("a line of %d bytes is read as %d bytes, %v", len(text), len(got), err)
	}
}

func appendHex(to []byte, hash [32]byte) []byte {
	const digits = "0123456789abcdef"
	for _, b := range hash {
		to = append(to, digits[b>>4], digits[b&15])
	}
	return to
}
