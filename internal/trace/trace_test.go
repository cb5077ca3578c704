// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/internal/trace"
)

func bytesOf(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// record writes a trace and returns its text.
func record(t testing.TB, entries ...trace.Entry) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace")
	w, err := trace.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = w.Begin("Reader 00", cardbroker.Card{ATR: bytesOf(t, "3B80800101"), Protocol: cardbroker.ProtocolT1})
	for _, e := range entries {
		if err == nil {
			err = w.Add(e)
		}
	}
	if err == nil {
		err = w.Close()
	}
	text, failed := os.ReadFile(path)
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	if !bytes.HasPrefix(text, []byte(trace.Mark)) {
		t.Errorf("a trace begins with %.40s, want %s", text, trace.Mark)
	}
	return text
}

func entry(t testing.TB, command, data string, sw apdu.StatusWord) trace.Entry {
	t.Helper()
	return trace.Entry{Time: time.Now(), Command: bytesOf(t, command), Data: bytesOf(t, data), SW: sw}
}

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := trace.Create(path); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("Create over a file = %v, want %s", err, cardbroker.Invalid)
	}
	if text, _ := os.ReadFile(path); string(text) != "precious" {
		t.Errorf("Create left %q", text)
	}
	w, err := trace.Create(path + "2")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path + "2"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a trace has the mode %v, %v, want 0600", info.Mode(), err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path + "2"); !os.IsNotExist(err) {
		t.Errorf("a trace that has not begun stays: %v", err)
	}
}

// TestRedaction looks for a PIN in every spelling, wherever it may be in a command or an answer.
func TestRedaction(t *testing.T) {
	const pin = "73194628"
	ascii := hex.EncodeToString([]byte(pin))
	var entries []trace.Entry
	for _, header := range []string{"00200080", "0C200080", "10200080", "00210000", "00240080", "00250000", "00260080", "00280080",
		"002C0080", "002D0000", "80D80081", "80E28000", "00DA0101", "00DB3FFF", "00C20000"} {
		entries = append(entries, entry(t, header+"08"+ascii, ascii, 0x9000), entry(t, header+"04"+pin, "", 0x6983),
			entry(t, header+"08"+pin+"FFFFFFFF", "", 0x6983), entry(t, header+"08"+ascii+"00", "", 0x6104), entry(t, "00C0000008", ascii, 0x9000))
	}
	sensitive := entry(t, "80CA000008"+ascii, ascii, 0x9000)
	sensitive.Sensitive = true
	text := string(record(t, append(entries, sensitive)...))
	for _, spelling := range []string{pin, ascii, base64.StdEncoding.EncodeToString([]byte(pin)), pin + "FFFFFFFF"} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(spelling)) {
			t.Errorf("the trace has the PIN as %s:\n%s", spelling, text)
		}
	}
	again := string(record(t, entries[0]))
	tag := func(text string) string { _, rest, _ := strings.Cut(text, `"tag":"`); return rest[:16] }
	if tag(text) == tag(again) {
		t.Error("two traces have the same tag for one command: it can be guessed")
	}
	if strings.Count(text, tag(text)) != 1 {
		t.Error("the tag of one command is that of another")
	}
	if text := string(record(t, entry(t, "00200080", "", 0x63C3))); !strings.Contains(text, `"command":"00200080"`) {
		t.Errorf("the question for tries is redacted: %s", text)
	}
}

// conversation is what a card was asked and has answered.
func conversation(t testing.TB) []trace.Entry {
	gathered := entry(t, "00CB3FFF055C035FC10200", strings.Repeat("AB", 300), 0x9000)
	gathered.Gathered = true
	inserted := entry(t, "805000000401020304", "", 0x9000)
	inserted.Unknown = []trace.Range{{Offset: 1, Length: 2}}
	failed := entry(t, "00A4040000", "", 0)
	failed.Failed = cardbroker.CardRemoved
	return []trace.Entry{
		entry(t, "00A4040002A000", "6F00", 0x9000),
		entry(t, "00CA000004", "01", 0x9000),
		entry(t, "00A4040002A001", "", 0x9000),
		entry(t, "00CA000004", "02", 0x6282),
		gathered, inserted, failed,
		entry(t, "0020008008313233343536FFFF", "", 0x9000),
	}
}

func TestPlay(t *testing.T) {
	p, err := trace.Parse(record(t, conversation(t)...))
	if err != nil {
		t.Fatal(err)
	}
	if card := p.Card(); fmt.Sprintf("%X", card.ATR) != "3B80800101" || card.Protocol != cardbroker.ProtocolT1 {
		t.Errorf("Card = %+v", card)
	}
	ab := func(n int) string { return strings.Repeat("AB", n) }
	for _, step := range []struct{ name, command, want string }{
		{"the first", "00A4040002A000", "6F009000"},
		{"in order", "00CA000004", "019000"},
		{"after the next", "00A4040002A001", "9000"},
		{"the same command later", "00CA000004", "026282"},
		{"from the beginning again", "00CA000004", "019000"},
		{"skipped to the end", "00200080080000000000000000", "9000"},
		{"a PIN of another length", "00200080040000000000", "6F00"},
		{"a known byte is another", "805000000409FFFF04", "6F00"},
		{"unknown bytes are any", "8050000004015555" + "04", "9000"},
		{"one that failed", "00A4040000", "6F00"},
		{"what was gathered", "00CB3FFF055C035FC10200", ab(256) + "612C"},
		{"in parts", "00C0000020", ab(32) + "610C"},
		{"the rest", "00C000000C", ab(12) + "9000"},
		{"nothing is left", "00C0000001", "6F00"},
		{"no command", "00A4", "6700"},
	} {
		if got := fmt.Sprintf("%X", p.Transmit(nil, bytesOf(t, step.command))); got != step.want {
			t.Errorf("%s: %s was answered %s, want %s", step.name, step.command, got, step.want)
		}
	}
	p.Transmit(nil, bytesOf(t, "00A4040002A001"))
	p.Reset()
	if got := fmt.Sprintf("%X", p.Transmit(nil, bytesOf(t, "00CA000004"))); got != "019000" {
		t.Errorf("after a reset the first answer is %s", got)
	}
}

func TestParseRefuses(t *testing.T) {
	good := string(record(t))
	for name, text := range map[string]string{
		"nothing":          "",
		"another form":     strings.Replace(good, `_trace":1,`, `_trace":2,`, 1),
		"no ATR":           strings.Replace(good, `"3B80800101"`, `"3B"`, 1),
		"no protocol":      strings.Replace(good, `"T1"`, `"T2"`, 1),
		"two values":       strings.TrimSpace(good) + "{}\n",
		"an unknown field": good + `{"command":"00A4040000","sw":"9000","pin":"x"}` + "\n",
		"no status word":   good + `{"command":"00A4040000","sw":"90000"}` + "\n",
		"no command":       good + `{"sw":"9000"}` + "\n",
		"half a byte":      good + `{"command":"00A404000","sw":"9000"}` + "\n",
		"no hex":           good + `{"command":"00A40400.0","sw":"9000"}` + "\n",
		"no response":      good + `{"command":"00A4040000","sw":"9000","response":"x"}` + "\n",
	} {
		if _, err := trace.Parse([]byte(text)); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("%s: Parse = %v, want %s", name, err, cardbroker.Invalid)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(record(f, conversation(f)...), []byte{0, 0xA4, 4, 0, 2, 0xA0, 0})
	f.Fuzz(func(t *testing.T, text, command []byte) {
		p, err := trace.Parse(text)
		if err != nil {
			return
		}
		for range 3 {
			if n := len(p.Transmit(nil, command)); n < 2 {
				t.Errorf("an answer has %d bytes", n)
			}
		}
	})
}
