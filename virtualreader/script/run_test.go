// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/script"
)

// deck answers commands from a list, in order: "command > answer". An answer that is a word is the reason of an error.
type deck struct {
	t     *testing.T
	cards []string
	steps []int // of the commands that were sent
	delay time.Duration
}

func (d *deck) transmit(step int, dst, command []byte) ([]byte, time.Duration, error) {
	d.steps = append(d.steps, step)
	time.Sleep(d.delay) // in a bubble
	if len(d.cards) == 0 {
		d.t.Fatalf("the card was sent %X, want nothing more", command)
	}
	want, answer, _ := strings.Cut(d.cards[0], " > ")
	d.cards = d.cards[1:]
	if got := fmt.Sprintf("%X", command); got != want {
		d.t.Errorf("the card was sent %s, want %s", got, want)
	}
	raw, err := hex.DecodeString(answer)
	if err != nil {
		return nil, 0, cardbroker.Errorf(cardbroker.Reason(answer), "as the test wants it")
	}
	return append(dst, raw...), time.Millisecond, nil
}

func (d *deck) holder() script.Holder { return script.Holder{Transmit: d.transmit} }

// lines are the results of steps, one a line.
func lines(r script.Result) (list []string) {
	for _, s := range r.Steps {
		line := fmt.Sprintf("%d %X %s", s.Step, s.Data, s.SW)
		if !s.Matched {
			line += " unexpected"
		}
		if s.Cut {
			line += " cut"
		}
		list = append(list, line)
	}
	return list
}

func TestRun(t *testing.T) {
	tests := []struct {
		name, text string
		cards      []string
		outcome    script.Outcome
		why        cardbroker.Reason
		says       string
		want       []string
	}{
		{"to its end", "steps: [00A4040000, 0084000008]", []string{"00A4040000 > 6F009000", "0084000008 > 01029000"},
			script.OK, "", "", []string{"0 6F00 9000", "1 0102 9000"}},
		{"the rest is fetched", "steps: [03CA000004]", []string{"03CA000004 > 01026103", "03C0000003 > 036101", "03C0000001 > 049000"},
			script.OK, "", "", []string{"0 01020304 9000"}},
		{"the rest is not fetched", "steps: [{command: 00CA000004, get_response: false, expect: 61xx}]", []string{"00CA000004 > 01026103"},
			script.OK, "", "", []string{"0 0102 6103"}},
		{"the Le is put right", "steps: [00CA000004]", []string{"00CA000004 > 6C02", "00CA000002 > 01029000"},
			script.OK, "", "", []string{"0 0102 9000"}},
		{"a Le is put there", "steps: [00CA000001FF]", []string{"00CA000001FF > 6C02", "00CA000001FF02 > 01029000"},
			script.OK, "", "", []string{"0 0102 9000"}},
		{"the Le is put right once", "steps: [00CA000004]", []string{"00CA000004 > 6C02", "00CA000002 > 6C03"},
			script.Stopped, cardbroker.CardUnexpected, "step 1 was answered 6C03", []string{"0  6C03 unexpected"}},
		{"the Le is left", "steps: [{command: 00CA000004, fix_le: false}]", []string{"00CA000004 > 6C02"},
			script.Stopped, cardbroker.CardUnexpected, "", []string{"0  6C02 unexpected"}},
		{"it stops", "steps: [{command: 00A4040000, label: select}, 0084000008]", []string{"00A4040000 > 6A82"},
			script.Stopped, cardbroker.CardUnexpected, "step 1 (select) was answered 6A82 (file or application not found), want 9000", []string{"0  6A82 unexpected"}},
		{"it goes on", "steps: [{command: 00A4040000, on_mismatch: continue}, 0084000008]", []string{"00A4040000 > 6A82", "0084000008 > 9000"},
			script.OK, "", "", []string{"0  6A82 unexpected", "1  9000"}},
		{"it goes to a label", "steps: [{command: 00A4040000, on_mismatch: goto end}, 0084000008, {command: 0084000001, label: end}]",
			[]string{"00A4040000 > 6A82", "0084000001 > 9000"}, script.OK, "", "", []string{"0  6A82 unexpected", "2  9000"}},
		{"one of several words", "steps: [{command: 00A4040000, expect: [9000, 63Cx]}]", []string{"00A4040000 > 63C2"},
			script.OK, "", "", []string{"0  63C2"}},
		{"a capture goes into a command", "steps:\n- {command: 0084000004, capture: {register: a, offset: 1, length: 2}}\n- {command: 8050000004FFFFFFFF, insert: {register: a, offset: 1}}",
			[]string{"0084000004 > 010203049000", "8050000004FF0203FF > 9000"}, script.OK, "", "", []string{"0 01020304 9000", "1  9000"}},
		{"an answer is too short for a capture", "steps:\n- {command: 0084000004, capture: {register: a, offset: 1, length: 2}}", []string{"0084000004 > 01029000"},
			script.Stopped, cardbroker.CardUnexpected, "with 2 bytes, too few for a capture", []string{"0 0102 9000 unexpected"}},
		{"a register is empty", "steps:\n- {command: 0084000004, on_mismatch: continue, capture: {register: a, length: 2}}\n- {command: 8050000002FFFF, insert: {register: a}}",
			[]string{"0084000004 > 6A82"}, script.Failed, cardbroker.CardUnexpected, `register "a" was not filled`, []string{"0  6A82 unexpected"}},
		{"a secret stays", "steps:\n- {command: 0084000002, sensitive: true, capture: {register: a, length: 2}}\n- {command: 8050000002FFFF, insert: {register: a}}",
			[]string{"0084000002 > 01029000", "80500000020102 > 9000"}, script.OK, "", "", []string{"0  9000", "1  9000"}},
		{"an answer is too long", "steps: [{command: 00CA000000, max_response: 3}]", []string{"00CA000000 > 0102030461FF"},
			script.Stopped, cardbroker.CardUnexpected, "with more than 3 bytes", []string{"0 010203 61FF unexpected cut"}},
		{"the card is gone", "steps: [00A4040000, 0084000008]", []string{"00A4040000 > 9000", "0084000008 > card_removed"},
			script.Failed, cardbroker.CardRemoved, "", []string{"0  9000"}},
		{"the card is gone before all is fetched", "steps: [00A4040000]", []string{"00A4040000 > 016101", "00C0000001 > card_removed"},
			script.Failed, cardbroker.CardRemoved, "", []string{"0 01 6101 unexpected cut"}},
		{"nobody knows", "steps: [00A4040000, 0084000008]", []string{"00A4040000 > 9000", "0084000008 > indeterminate"},
			script.Indeterminate, cardbroker.Indeterminate, "", []string{"0  9000"}},
		{"no answer", "steps: [00A4040000]", []string{"00A4040000 > 90"}, script.Failed, cardbroker.CardMute, "", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := &deck{t: t, cards: test.cards}
			var state script.State
			got := state.Run(t.Context(), parts(t, parsed(t, test.text))[0], d.holder())
			if got.Outcome != test.outcome || reasonOf(got.Why) != test.why || !slices.Equal(lines(got), test.want) || len(d.cards) > 0 {
				t.Errorf("Run = %v (%v) %q, want %v (%s) %q; %d answers are left", got.Outcome, got.Why, lines(got), test.outcome, test.why, test.want, len(d.cards))
			}
			if test.says != "" && !strings.Contains(got.Why.Message, test.says) {
				t.Errorf("Run says %q, want %q", got.Why.Message, test.says)
			}
			if state.Follows(script.Part{First: 1}) {
				t.Error("a script that is over awaits a part")
			}
		})
	}
}

func reasonOf(e *cardbroker.Error) cardbroker.Reason {
	if e == nil {
		return ""
	}
	return e.Reason
}

// TestRunParts carries registers and a label over to the next part.
func TestRunParts(t *testing.T) {
	s := parsed(t, "steps:\n- {command: 0084000002, capture: {register: a, length: 2}}\n- {command: 00A4040000, on_mismatch: goto end}\n- 0084000001\n- {command: 8050000002FFFF, label: end, insert: {register: a}}")
	first := script.Part{Open: true, Limit: time.Second, Steps: s.Steps[:2]}
	second := script.Part{First: 2, Limit: time.Second, Steps: s.Steps[2:]}
	d := &deck{t: t, cards: []string{"0084000002 > 01029000", "00A4040000 > 6A82", "80500000020102 > 9000"}}
	var state script.State
	if state.Follows(second) {
		t.Error("the second part follows nothing")
	}
	if got := state.Run(t.Context(), first, d.holder()); got.Outcome != script.OK || !state.Follows(second) {
		t.Fatalf("Run = %+v", got)
	}
	if got := state.Run(t.Context(), second, d.holder()); got.Outcome != script.OK || !slices.Equal(lines(got), []string{"3  9000"}) {
		t.Errorf("Run = %v %q", got.Outcome, lines(got))
	}
	if !slices.Equal(d.steps, []int{0, 1, 3}) || state.Follows(second) {
		t.Errorf("the steps %v were sent, want 0, 1, 3; the script is over", d.steps)
	}
	d = &deck{t: t, cards: []string{"0084000002 > 6A82"}}
	if got := state.Run(t.Context(), first, d.holder()); got.Outcome != script.Stopped || state.Follows(second) {
		t.Errorf("Run = %+v; a part follows one that was stopped", got)
	}
	d = &deck{t: t, cards: []string{"0084000002 > 01029000", "00A4040000 > 6A82"}}
	state.Run(t.Context(), first, d.holder())
	second.Steps = second.Steps[:1]
	if got := state.Run(t.Context(), second, d.holder()); got.Outcome != script.Failed || got.Why.Reason != cardbroker.Invalid {
		t.Errorf("Run of a script that never comes to its label = %+v", got)
	}
}

// TestRunEnds: neither a passed limit nor a lease that has ended lets another command through.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parts(t, parsed(t, "limit: 2s\nsteps: [00A4040000, 00A4040000, 00A4040000]"))[0]
		d := &deck{t: t, cards: slices.Repeat([]string{"00A4040000 > 9000"}, 3), delay: time.Second}
		var state script.State
		got := state.Run(t.Context(), p, d.holder())
		if got.Outcome != script.Failed || got.Why.Reason != cardbroker.Timeout || got.Step != 2 || len(got.Steps) != 2 {
			t.Errorf("Run past its time = %+v", got)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		d = &deck{t: t, cards: slices.Repeat([]string{"00A4040000 > 9000"}, 3)}
		got = state.Run(ctx, p, script.Holder{Transmit: func(step int, dst, command []byte) ([]byte, time.Duration, error) {
			cancel(cardbroker.Errorf(cardbroker.Forbidden, "revoked"))
			return d.transmit(step, dst, command)
		}})
		if got.Outcome != script.Failed || got.Why.Message != "revoked" || got.Step != 1 || len(got.Steps) != 1 {
			t.Errorf("Run of an ended lease = %+v", got)
		}
	})
}

// TestRunProgress is told four times a second at most; times are those of each step.
func TestRunProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script.Script{Steps: slices.Repeat([]script.Step{{Command: []byte{0, 0xA4, 4, 0, 0}}}, 100)}
		d := &deck{t: t, cards: slices.Repeat([]string{"00A4040000 > 9000"}, 100), delay: 10 * time.Millisecond}
		var told []int
		var state script.State
		got := state.Run(t.Context(), parts(t, s)[0], script.Holder{Transmit: d.transmit, Progress: func(steps int) { told = append(told, steps) }})
		if !slices.Equal(told, []int{25, 50, 75, 100}) {
			t.Errorf("progress %v, want 25, 50, 75, 100", told)
		}
		one := got.Steps[7].Times
		if one.Card != time.Millisecond || one.Queue != 9*time.Millisecond || one.Agent != 10*time.Millisecond {
			t.Errorf("a step has the times %+v", one)
		}
		if all := got.Times; all.Card != 100*time.Millisecond || all.Agent != time.Second {
			t.Errorf("the script has the times %+v", all)
		}
	})
}

// TestRunBounds: a card that answers without end, and answers without measure, end the script.
func TestRunBounds(t *testing.T) {
	long := bytes.Repeat([]byte{0xAA}, 65536)
	endless := func(_ int, dst, _ []byte) ([]byte, time.Duration, error) {
		return append(dst, 0x61, 0x00), 0, nil
	}
	much := func(_ int, dst, _ []byte) ([]byte, time.Duration, error) {
		return append(append(dst, long...), 0x90, 0x00), 0, nil
	}
	s := script.Script{Steps: slices.Repeat([]script.Step{{Command: []byte{0, 0xB0, 0, 0, 0, 0, 0}}}, 20)}
	var state script.State
	if got := state.Run(t.Context(), parts(t, s)[0], script.Holder{Transmit: endless}); got.Outcome != script.Failed || got.Why.Reason != cardbroker.CardMute {
		t.Errorf("Run with a card without end = %v, %v", got.Outcome, got.Why)
	}
	got := state.Run(t.Context(), parts(t, s)[0], script.Holder{Transmit: much})
	if got.Outcome != script.Failed || got.Why.Reason != cardbroker.TooLarge || len(got.Steps) != 16 || !got.Steps[15].Cut {
		t.Errorf("Run with answers without measure = %v, %v, %d steps", got.Outcome, got.Why, len(got.Steps))
	}
	if n := len(got.Append(nil)); n > script.MaxResult {
		t.Errorf("a result has %d bytes, want %d or fewer", n, script.MaxResult)
	}
}

// TestRunWipes: of a command, which may hold a PIN, nothing is left in any buffer that it was sent from.
func TestRunWipes(t *testing.T) {
	var sent [][]byte
	answers := [][]byte{{0x90, 0x00}, {0x6C, 0x10}, {0x90, 0x00}, {0x90, 0x00}}
	card := func(_ int, dst, command []byte) ([]byte, time.Duration, error) {
		sent = append(sent, command)
		answer := answers[len(sent)-1]
		return append(dst, answer...), 0, nil
	}
	verify := append([]byte{0x00, 0x20, 0x00, 0x80, 0x08}, "12345678"...)
	change := append([]byte{0x00, 0x24, 0x00, 0x80, 0x10}, "1234567887654321"...)
	s := script.Script{Steps: []script.Step{{Command: verify}, {Command: verify}, {Command: change}}}
	var state script.State
	if got := state.Run(t.Context(), parts(t, s)[0], script.Holder{Transmit: card}); got.Outcome != script.OK {
		t.Fatalf("Run = %v, %v", got.Outcome, got.Why)
	}
	for i, command := range sent {
		if !bytes.Equal(command, make([]byte, len(command))) {
			t.Errorf("command %d is left in memory: % X", i, command)
		}
	}
}

// TestRunEndsWithItsLease also where a card always has more to fetch.
func TestRunEndsWithItsLease(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	rounds := 0
	card := func(_ int, dst, _ []byte) ([]byte, time.Duration, error) {
		if rounds++; rounds == 3 {
			end(cardbroker.Errorf(cardbroker.Forbidden, "the user has ended the lease"))
		}
		return append(dst, 0x61, 0x10), 0, nil
	}
	var state script.State
	got := state.Run(ctx, parts(t, parsed(t, "steps: [00B0000010]"))[0], script.Holder{Transmit: card})
	if rounds != 3 || got.Outcome != script.Failed || got.Why.Reason != cardbroker.Forbidden || len(got.Steps) != 1 || !got.Steps[0].Cut {
		t.Errorf("after %d commands Run = %v, %v, %+v", rounds, got.Outcome, got.Why, got.Steps)
	}
}

// TestRunHides: a cause that is not for the back end stays here.
func TestRunHides(t *testing.T) {
	for _, cause := range []error{errors.New("/home/alice is full"), cardbroker.Errorf(cardbroker.Internal, "alice")} {
		var state script.State
		got := state.Run(t.Context(), parts(t, parsed(t, "steps: [00A4040000]"))[0], script.Holder{Transmit: func(int, []byte, []byte) ([]byte, time.Duration, error) {
			return nil, 0, cause
		}})
		if got.Why.Reason != cardbroker.Internal || strings.Contains(got.Why.Message, "alice") {
			t.Errorf("Run = %v", got.Why)
		}
	}
}
