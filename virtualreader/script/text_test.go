// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"encoding/hex"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/script"
)

const everything = `
name: everything
limit: 2m
steps:
  - 00A4040000
  - label: read
    command: 00 84 00 00 08
    expect: [success, 61xx, 6A82, 6E00]
    on_mismatch: goto end
    get_response: false
    fix_le: false
    capture: {register: challenge, offset: 2, length: 6}
    max_response: 100
    sensitive: true
  - command: |
      80:50:00:00 08
      0102030405060708
    insert: [{register: challenge, offset: 1}]
    on_mismatch: continue
  - {label: end, command: "0084000008", on_mismatch: stop, expect: 9000}
`

func bytesOf(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	got, err := script.Parse([]byte(everything))
	want := script.Script{Name: "everything", Limit: 2 * time.Minute, Steps: []script.Step{
		{Command: bytesOf(t, "00A4040000")},
		{
			Label: "read", Command: bytesOf(t, "0084000008"),
			Expect:     []script.Match{{0x9000, 0xFFFF}, {0x6100, 0xFF00}, {0x6A82, 0xFFFF}, {0x6E00, 0xFFFF}},
			OnMismatch: script.ActionGoto, Goto: "end", RawMore: true, RawLe: true,
			Capture: []script.Capture{{Register: "challenge", Offset: 2, Length: 6}}, MaxResponse: 100, Sensitive: true,
		},
		{
			Command: bytesOf(t, "80500000080102030405060708"), OnMismatch: script.ActionContinue,
			Insert: []script.Insert{{Register: "challenge", Offset: 1, Length: 6}},
		},
		{Label: "end", Command: bytesOf(t, "0084000008"), Expect: []script.Match{{0x9000, 0xFFFF}}},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Parse = %+v, %v, want %+v", got, err, want)
	}
	if _, err := script.Parse([]byte(`{"steps":[{"command":"00A4040000","expect":["9000"]}]}`)); err != nil {
		t.Errorf("Parse of JSON = %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	const step = "steps:\n- command: 00A4040000\n  "
	const capture = "steps:\n- command: 0084000008\n  capture: {register: a, length: 8}\n- command: "
	tests := []struct{ name, text, want string }{
		{"nothing", "", "want one YAML document"},
		{"two documents", "steps: [00A4040000]\n---\nsteps: []", "want one YAML document"},
		{"no YAML", "steps: [", "line 1: "},
		{"a list", "- a", "line 1: want keys and values"},
		{"no steps", "name: x", "steps: want one or more"},
		{"an unknown key", "steps:\n- command: 00A4040000\n  expects: 9000", "line 3: steps[0].expects: unknown key"},
		{"a key twice", step + "label: a\n  label: b", "line 4: "},
		{"no hex", "steps:\n- command: 31323334zz", "line 2: steps[0].command: want bytes in hexadecimal"},
		{"a short command", "steps:\n- 00A4", "line 2: steps[0].command: "},
		{"a status word", step + "expect: 900", "line 3: steps[0].expect: want a status word"},
		{"a status word of many", step + "expect: [9000, ok]", "line 3: steps[0].expect[1]: want a status word"},
		{"an action", step + "on_mismatch: goto", "line 3: steps[0].on_mismatch: want stop, continue or goto LABEL"},
		{"a label", step + "on_mismatch: goto x", `line 3: steps[0].on_mismatch: no step has the label "x"`},
		{"a label of itself", step + "label: x\n  on_mismatch: goto x", `line 4: steps[0].on_mismatch: label "x" is not after this step`},
		{"a label twice", step + "label: x\n- {command: 00A4040000, label: x}", `line 4: steps[1].label: "x" is the label of steps[0], too`},
		{"a name", step + "label: a b", "line 3: steps[0].label: want 1 to 32 of"},
		{"a truth", step + "sensitive: maybe", "line 3: steps[0].sensitive: want true or false"},
		{"a time", "limit: 30\nsteps: [00A4040000]", "line 1: limit: want a time"},
		{"a long time", "limit: 1h\nsteps: [00A4040000]", "line 1: limit: want whole milliseconds up to 10m0s"},
		{"a number", step + "max_response: -1", "line 3: steps[0].max_response: want a number"},
		{"an alias", "name: &a x\nsteps: [*a]", "line 1: name: want a text"},
		{"a register of no step", "steps:\n- command: 8050000001AA\n  insert: {register: a}", "line 3: steps[0].insert[0]: want 1 to 4096 bytes of a register"},
		{"a register of another length", capture + "8050000002AABB\n  insert: {register: a, length: 2}", `line 5: steps[1].insert[0]: register "a" has 8 bytes, not 2`},
		{"behind the data", capture + "8050000002AABB\n  insert: {register: a}", "line 5: steps[1].insert[0]: it ends behind the data field, 2 bytes"},
		{"into SELECT", capture + "00A40400080000000000000000\n  insert: {register: a}", "line 5: steps[1].insert: what SELECT selects"},
		{"behind the answer", step + "max_response: 4\n  capture: {register: a, length: 5}", "line 4: steps[0].capture[0]: it ends behind max_response, 4 bytes"},
		{"a register that changes", "steps:\n- {command: 0084000008, capture: {register: a, length: 8}}\n- {command: 0084000008, capture: {register: a, length: 4}}",
			`line 3: steps[1].capture[0]: register "a" has 8 bytes before`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := script.Parse([]byte(test.text))
			if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Parse = %v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "31323334") {
				t.Errorf("Parse = %v, which shows what was written: it may be a key", err)
			}
		})
	}
}

// TestDocument runs the parser on what docs/scripts.md shows.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/scripts.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(examples) < 3 {
		t.Fatalf("docs/scripts.md has %d examples, want 3 or more", len(examples))
	}
	for _, m := range examples {
		if _, err := script.Parse([]byte(m[1])); err != nil {
			t.Errorf("%s\n%v", m[1], err)
		}
	}
	for _, word := range script.Words() {
		if !strings.Contains(string(text), "`"+word+"`") {
			t.Errorf("docs/scripts.md does not tell of the status word %s", word)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte("steps: [00A4040000]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := script.Parse(text)
		if err != nil {
			return
		}
		if _, err := s.Parts(); err != nil {
			t.Errorf("Parts of what Parse accepted = %v", err)
		}
	})
}
