// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/election"
)

// compound packs messages as memberlist does.
func compound(messages ...[]byte) []byte {
	b := []byte{7, byte(len(messages))}
	for _, m := range messages {
		b = binary.BigEndian.AppendUint16(b, uint16(len(m)))
	}
	return append(b, bytes.Join(messages, nil)...)
}

func TestPackets(t *testing.T) {
	ping, dead, compressed := []byte{0, 0x80}, []byte{5, 0x80}, []byte{9, 0x80}
	for name, tt := range map[string]struct {
		packet []byte
		want   bool
	}{
		"a ping":                  {ping, true},
		"two messages":            {compound(ping, dead), true},
		"with a checksum":         {append([]byte{12, 1, 2, 3, 4}, compound(ping, dead)...), true},
		"no byte":                 {nil, false},
		"a checksum of nothing":   {[]byte{12, 1, 2, 3, 4}, false},
		"two checksums":           {[]byte{12, 1, 2, 3, 4, 12, 1, 2, 3, 4, 0}, false},
		"an indirect ping":        {[]byte{1, 0x80}, false},
		"a state":                 {[]byte(election.StateHead), false},
		"a message of the user's": {[]byte{8, 1}, false},
		"compressed":              {compressed, false},
		"encrypted":               {[]byte{10, 1}, false},
		"a label":                 {[]byte{244, 1, 'a', 0}, false},
		"compressed, in two":      {compound(ping, compressed), false},
		"a compound in another":   {compound(compound(ping)), false},
		"a compound cut off":      {compound(ping, dead)[:7], false},
		"sizes cut off":           {[]byte{7, 200, 0, 1}, false},
		"too long":                {make([]byte, 1501), false},
		"as long as a packet":     {make([]byte, 1500), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := election.Passes(tt.packet); got != tt.want {
				t.Errorf("Passes(%x) = %v, want %v", tt.packet, got, tt.want)
			}
		})
	}
}

// FuzzPackets takes what has passed apart, and finds nothing in it but what voters send.
func FuzzPackets(f *testing.F) {
	f.Add([]byte{0, 0x80})
	f.Add(append([]byte{12, 1, 2, 3, 4}, compound([]byte{0, 0x80}, []byte{5})...))
	f.Add(compound(compound([]byte{9})))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !election.Passes(b) {
			return
		}
		rest := b
		if len(rest) > 5 && rest[0] == 12 {
			rest = rest[5:]
		}
		messages := [][]byte{rest}
		if rest[0] == 7 {
			n := int(rest[1])
			messages = nil
			for i, at := 0, 2+2*n; i < n; i++ {
				size := int(binary.BigEndian.Uint16(rest[2+2*i:]))
				messages = append(messages, rest[at:at+size])
				at += size
			}
		}
		for _, m := range messages {
			if !slices.Contains([]byte{0, 2, 3, 4, 5}, m[0]) {
				t.Errorf("%x has passed, with %x", b, m)
			}
		}
	})
}

func stateHead(join, nodes string) string {
	return strings.Replace(strings.Replace(election.StateHead, "?", join, 1), "?", nodes, 1)
}

func TestStreamHeads(t *testing.T) {
	for name, tt := range map[string]struct {
		stream string
		want   int // bytes of the head; 0: refused
	}{
		"a ping":              {"\x00rest", 1},
		"an answer":           {"\x02rest", 1},
		"an error":            {"\x0drest", 1},
		"a state":             {stateHead("\xc3", "\x07") + "rest", len(election.StateHead)},
		"a state of all":      {stateHead("\xc2", "\x7f"), len(election.StateHead)},
		"a million nodes":     {stateHead("\xc2", "\xce\x00\x0f\x00\x00"), 0},
		"128 nodes":           {stateHead("\xc2", "\xcc\x80"), 0},
		"a state of the user": {strings.Replace(stateHead("\xc2", "\x01"), "Len\x00", "Len\x01", 1), 0},
		"a state cut off":     {stateHead("\xc2", "\x01")[:20], 0},
		"compressed":          {"\x09rest", 0},
		"encrypted":           {"\x0a\x00\x00\x00\x01", 0},
		"a user's message":    {"\x08rest", 0},
		"a browser":           {"GET / HTTP/1.1\r\n", 0},
		"nothing":             {"", 0},
	} {
		t.Run(name, func(t *testing.T) {
			head, err := election.ReadHead(strings.NewReader(tt.stream))
			if string(head) != tt.stream[:tt.want] || (err == nil) != (tt.want > 0) {
				t.Errorf("ReadHead(%q) = %q, %v, want %d bytes", tt.stream, head, err, tt.want)
			}
		})
	}
}

func FuzzStreamHead(f *testing.F) {
	f.Add([]byte(stateHead("\xc3", "\x07")))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		head, err := election.ReadHead(r)
		if !bytes.HasPrefix(b, head) || len(b)-r.Len() > len(election.StateHead) {
			t.Errorf("ReadHead(%x) = %x, and %d are left", b, head, r.Len())
		}
		if err == nil && !slices.Contains([]byte{0, 2, 6, 13}, head[0]) {
			t.Errorf("ReadHead(%x) = %x", b, head)
		}
	})
}

// TestLogHasNoWordOfOthers has memberlist write what others have sent.
func TestLogHasNoWordOfOthers(t *testing.T) {
	for line, want := range map[string]string{
		"[ERR] memberlist: failed to receive: remote error: secret from=1\n":                                 "failed to receive",
		"[WARN] memberlist: Got ping for unexpected node 'secret' from=1\n":                                  "Got ping for unexpected node",
		"[WARN] memberlist: ignoring alive message for 'secret': forbidden: not appointed\n":                 "ignoring alive message for",
		"[WARN] memberlist: Refuting an alive message for 'secret' (1) meta:(secret VS secret), vsn:([1])\n": "Refuting an alive message for",
		"memberlist: " + strings.Repeat("secret ", 1000):                                                     strings.TrimSpace(strings.Repeat("secret ", 12)[:80]),
	} {
		if got := election.Phrase(line); got != want {
			t.Errorf("Phrase(%q) = %q, want %q", line, got, want)
		}
	}
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	io.WriteString(election.Phrases(log), "[ERR] memberlist: loud\n")
	if out.Len() > 0 || log.Enabled(context.Background(), slog.LevelDebug) {
		t.Errorf("logged %q, want nothing", out.String())
	}
}
