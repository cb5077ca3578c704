// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/script"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

func parsed(t testing.TB, text string) script.Script {
	t.Helper()
	s, err := script.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parts(t testing.TB, s script.Script) []script.Part {
	t.Helper()
	p, err := s.Parts()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPartRoundTrip(t *testing.T) {
	want := parts(t, parsed(t, everything))[0]
	got, err := script.ParsePart(want.Append(nil))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ParsePart(Append(%+v)) = %+v, %v", want, got, err)
	}
}

// TestParts splits at both limits, and what comes out is what went in.
func TestParts(t *testing.T) {
	for _, test := range []struct {
		name  string
		steps int
		bytes int // of data in a command
		want  []int
	}{
		{"one", 1, 0, []int{1}},
		{"as many as fit", 256, 0, []int{256}},
		{"one more", 257, 0, []int{256, 1}},
		{"by bytes", 5, 65535, []int{3, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			command := []byte{0, 0xCA, 0, 0}
			if test.bytes > 0 {
				command = append(append(command, 0, byte(test.bytes>>8), byte(test.bytes)), make([]byte, test.bytes)...)
			}
			var s script.Script
			for range test.steps {
				s.Steps = append(s.Steps, script.Step{Command: command})
			}
			var got []int
			first := 0
			for i, p := range parts(t, s) {
				if p.First != first || p.Open != (i < len(test.want)-1) || p.Limit != time.Minute {
					t.Errorf("part %d: first %d, open %v, limit %v", i, p.First, p.Open, p.Limit)
				}
				if _, err := script.ParsePart(p.Append(nil)); err != nil {
					t.Errorf("ParsePart = %v", err)
				}
				got, first = append(got, len(p.Steps)), first+len(p.Steps)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("the parts have %v steps, want %v", got, test.want)
			}
		})
	}
}

func TestParsePartRefuses(t *testing.T) {
	good := parts(t, parsed(t, everything))[0].Append(nil)
	for n := range good {
		if _, err := script.ParsePart(good[:n]); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("ParsePart of %d bytes = %v, want %s", n, err, cardbroker.Invalid)
		}
	}
	if _, err := script.ParsePart(append(bytes.Clone(good), 0)); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("ParsePart with a byte too many = %v", err)
	}
	if _, err := script.ParsePart(make([]byte, script.MaxPart+1)); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("ParsePart of too many bytes = %v", err)
	}
	for at, value := range map[int]byte{0: 2, 1: 4, 2: 0x80, 6: 0xFF, 10: 2, 12: 0x08} {
		bad := bytes.Clone(good)
		bad[at] = value
		if _, err := script.ParsePart(bad); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("ParsePart with byte %d changed = %v, want %s", at, err, cardbroker.Invalid)
		}
	}
	back := script.Part{Limit: time.Second, Steps: []script.Step{
		{Label: "x", Command: []byte{0, 0, 0, 0}},
		{Command: []byte{0, 0, 0, 0}, OnMismatch: script.ActionGoto, Goto: "x"},
	}}
	if _, err := script.ParsePart(back.Append(nil)); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("ParsePart of a goto that goes back = %v", err)
	}
}

// FuzzParsePart: what is accepted has one form, and is no more than what came in.
func FuzzParsePart(f *testing.F) {
	f.Add(parts(f, parsed(f, everything))[0].Append(nil))
	f.Add(parts(f, parsed(f, "steps: [00A4040000]"))[0].Append(nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		part, err := script.ParsePart(p)
		if err != nil {
			return
		}
		if again := part.Append(nil); !bytes.Equal(again, p) {
			t.Errorf("Append(ParsePart(% x)) = % x", p, again)
		}
	})
}

func drawError(t *rapid.T) *cardbroker.Error {
	return &cardbroker.Error{
		Reason:  cardbroker.Reason(rapid.StringMatching("[a-z_]{1,20}").Draw(t, "reason")),
		Rule:    cardbroker.Rule(rapid.StringMatching("[a-z_]{0,20}").Draw(t, "rule")),
		Message: rapid.StringN(0, 50, 100).Draw(t, "message"),
	}
}

func drawTimes(t *rapid.T) wire.Times {
	micros := func(name string) time.Duration {
		return time.Duration(rapid.Uint32Max(1<<31-1).Draw(t, name)) * time.Microsecond
	}
	return wire.Times{Queue: micros("queue"), Card: micros("card"), Agent: micros("agent")}
}

func TestResultRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := script.Result{
			Outcome: script.Outcome(rapid.IntRange(0, int(script.Failed)).Draw(t, "outcome")),
			Step:    rapid.IntRange(0, 1<<20).Draw(t, "step"),
			Times:   drawTimes(t),
		}
		if want.Outcome != script.OK {
			want.Why = drawError(t)
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "steps") {
			want.Steps = append(want.Steps, script.StepResult{
				Step: i * 7, SW: 0x6A82, Data: rapid.SliceOfN(rapid.Byte(), 1, 30).Draw(t, "data"),
				Matched: rapid.Bool().Draw(t, "matched"), Cut: rapid.Bool().Draw(t, "cut"), Times: drawTimes(t),
			})
		}
		got, err := script.ParseResult(want.Append(nil))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseResult(Append(%+v)) = %+v, %v", want, got, err)
		}
	})
}

func TestVerdictsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want script.Verdicts
		for range rapid.IntRange(0, 5).Draw(t, "steps") {
			var e *cardbroker.Error
			if rapid.Bool().Draw(t, "refused") {
				e = drawError(t)
			}
			want = append(want, e)
		}
		got, err := script.ParseVerdicts(want.Append(nil))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseVerdicts(Append(%v)) = %v, %v", want, got, err)
		}
	})
}

// FuzzParseResult: a hostile holder's answers do no harm; what is accepted has one form.
func FuzzParseResult(f *testing.F) {
	f.Add(script.Result{Steps: []script.StepResult{{SW: 0x9000, Data: []byte{1}, Matched: true}}}.Append(nil))
	f.Add(script.Result{Outcome: script.Stopped, Why: cardbroker.Errorf(cardbroker.CardUnexpected, "x")}.Append(nil))
	f.Add(script.Verdicts{nil, cardbroker.Errorf(cardbroker.Forbidden, "x")}.Append(nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		if r, err := script.ParseResult(p); err == nil && !bytes.Equal(r.Append(nil), p) {
			t.Errorf("Append(ParseResult(% x)) = % x", p, r.Append(nil))
		}
		if v, err := script.ParseVerdicts(p); err == nil && !bytes.Equal(v.Append(nil), p) {
			t.Errorf("Append(ParseVerdicts(% x)) = % x", p, v.Append(nil))
		}
	})
}
