// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package journal_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
)

func create(t testing.TB, d cardbroker.Durability) (*journal.Journal, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lease.journal")
	j, err := journal.Create(path, []byte("note"), d)
	if err != nil {
		t.Fatal(err)
	}
	return j, path
}

// reopen says what the next process finds.
func reopen(t testing.TB, path string) journal.State {
	t.Helper()
	j, state, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	return state
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLifeOfAFrame(t *testing.T) {
	for _, d := range []cardbroker.Durability{cardbroker.DurabilityCrash, cardbroker.DurabilityPower} {
		j, path := create(t, d)
		defer j.Remove()
		if s := reopen(t, path); string(s.Note) != "note" || s.Seq != 0 || s.Answer != nil {
			t.Errorf("a new journal says %+v", s)
		}
		digest := sha256.Sum256([]byte("frame 7"))
		check(t, j.Executing(7, digest))
		if s := reopen(t, path); s.Seq != 7 || s.Digest != digest || s.Answer != nil {
			t.Errorf("while executing it says %+v", s)
		}
		check(t, j.Done(journal.Answer{Type: 16, Payload: []byte("answer")}))
		if s := reopen(t, path); s.Seq != 7 || s.Answer == nil || s.Answer.Type != 16 || string(s.Answer.Payload) != "answer" {
			t.Errorf("after the answer it says %+v", s)
		}
		check(t, j.Note([]byte("another note")))
		check(t, j.Executing(8, digest))
		if s := reopen(t, path); string(s.Note) != "another note" || s.Seq != 8 || s.Answer != nil {
			t.Errorf("with the next frame it says %+v", s)
		}
	}
}

func TestScriptsSteps(t *testing.T) {
	j, path := create(t, cardbroker.DurabilityCrash)
	defer j.Remove()
	check(t, j.Executing(2, [32]byte{1}))
	check(t, j.Step(0))
	check(t, j.Answered(0, []byte("zero\x90\x00")))
	check(t, j.Step(3))
	s := reopen(t, path)
	if len(s.Steps) != 2 || s.Steps[0].Index != 0 || string(s.Steps[0].Response) != "zero\x90\x00" || s.Steps[1].Index != 3 || s.Steps[1].Response != nil {
		t.Errorf("in the middle of a script it says %+v", s)
	}
}

// TestNothingStays looks for what a card answered once the back end has it, and after the lease.
func TestNothingStays(t *testing.T) {
	j, path := create(t, cardbroker.DurabilityCrash)
	long := bytes.Repeat([]byte("personal"), 8000)
	check(t, j.Executing(1, [32]byte{}))
	check(t, j.Done(journal.Answer{Type: 16, Payload: long}))
	if raw, err := os.ReadFile(path); err != nil || !bytes.Contains(raw, []byte("personal")) {
		t.Fatalf("the answer is not in the journal, %v", err)
	}
	check(t, j.Executing(2, [32]byte{}))
	if raw, err := os.ReadFile(path); err != nil || bytes.Contains(raw, []byte("personal")) {
		t.Errorf("the answer is still in the journal, %v", err)
	}
	check(t, j.Remove())
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the journal of a lease that has ended is there: %v", err)
	}
}

// TestCrashAnywhere writes at random, and has the process die in the middle of each write: what it was told is recorded must
// be there, and nothing that was not.
func TestCrashAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		path := filepath.Join(t.TempDir(), rapid.StringMatching(`[a-z]{12}`).Draw(rt, "name"))
		j, err := journal.Create(path, []byte("note"), cardbroker.DurabilityCrash)
		check(t, err)
		defer j.Remove()
		var before journal.State
		read := func() []byte {
			raw, err := os.ReadFile(path)
			check(t, err)
			return raw
		}
		whole := read()
		for seq := uint64(1); seq < 6; seq++ {
			answer := rapid.SliceOfN(rapid.Byte(), 1, 9000).Draw(rt, "answer")
			for _, write := range []func() error{
				func() error { return j.Executing(seq, [32]byte{byte(seq)}) },
				func() error { return j.Step(int(seq)) },
				func() error { return j.Answered(int(seq), answer) },
				func() error { return j.Done(journal.Answer{Type: 29, Payload: answer}) },
			} {
				check(t, write())
				next := read()
				torn := tear(rt, path+".torn", whole, next)
				after := reopen(t, path)
				if torn.Seq == after.Seq && same(torn, after) || torn.Seq == before.Seq && same(torn, before) || torn.Seq == 0 && after.Seq != before.Seq {
					whole, before = next, after // of the frame before, whose answer has arrived, nothing need be left
					continue
				}
				rt.Fatalf("after a torn write of frame %d: %+v, want %+v or %+v", seq, torn, before, after)
			}
		}
	})
}

// tear makes of two contents of a file one where the write between them ended half-way, and opens it.
func tear(rt *rapid.T, path string, before, after []byte) journal.State {
	first := 0
	for first < len(before) && first < len(after) && before[first] == after[first] {
		first++
	}
	cut := rapid.IntRange(first, len(after)).Draw(rt, "cut")
	content := append(bytes.Clone(after[:cut]), make([]byte, max(0, len(before)-cut))...)
	if cut < len(before) {
		copy(content[cut:], before[cut:])
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		rt.Fatal(err)
	}
	j, state, err := journal.Open(path)
	if err != nil {
		rt.Fatal(err)
	}
	j.Remove()
	return state
}

func same(a, b journal.State) bool {
	if a.Digest != b.Digest || len(a.Steps) != len(b.Steps) || (a.Answer == nil) != (b.Answer == nil) {
		return false
	}
	for i := range a.Steps {
		if a.Steps[i].Index != b.Steps[i].Index || !bytes.Equal(a.Steps[i].Response, b.Steps[i].Response) {
			return false
		}
	}
	return a.Answer == nil || a.Answer.Type == b.Answer.Type && bytes.Equal(a.Answer.Payload, b.Answer.Payload)
}

func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	for name, content := range map[string]string{"empty": "", "zeros": strings.Repeat("\x00", 8192), "text": strings.Repeat("cbj1", 2048)} {
		check(t, os.WriteFile(path, []byte(content), 0o600))
		if _, _, err := journal.Open(path); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("%s: Open = %v, want invalid", name, err)
		}
	}
	if _, err := journal.Create(path, nil, cardbroker.DurabilityCrash); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Create of a file that is there = %v, want unavailable", err)
	}
	j, _ := create(t, cardbroker.DurabilityCrash)
	defer j.Remove()
	if err := j.Note(make([]byte, 4096)); err == nil {
		t.Error("a note of 4,096 bytes is taken")
	}
}

// TestFullDisk has no room for the record: nothing may be executed then.
func TestFullDisk(t *testing.T) {
	j, path := create(t, cardbroker.DurabilityCrash)
	j.Close() // every write fails from now on
	if err := j.Executing(1, [32]byte{}); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Executing = %v, want unavailable", err)
	}
	if s := reopen(t, path); s.Seq != 0 {
		t.Errorf("the journal says %+v", s)
	}
}

func FuzzOpen(f *testing.F) {
	j, path := create(f, cardbroker.DurabilityCrash)
	check(f, j.Executing(3, [32]byte{1, 2}))
	check(f, j.Step(1))
	check(f, j.Answered(1, []byte("\x90\x00")))
	check(f, j.Done(journal.Answer{Type: 16, Payload: []byte("x")}))
	raw, err := os.ReadFile(path)
	check(f, err)
	check(f, j.Remove())
	f.Add(raw)
	f.Add([]byte{})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(dir, "fuzzed")
		check(t, os.WriteFile(path, content, 0o600))
		j, state, err := journal.Open(path)
		if err != nil {
			return
		}
		defer j.Close()
		check(t, j.Executing(state.Seq+1, [32]byte{9})) // whatever was in it, it goes on
		if s := reopen(t, path); s.Seq != state.Seq+1 || s.Answer != nil || !bytes.Equal(s.Note, state.Note) {
			t.Errorf("after %+v and another frame it says %+v", state, s)
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	for _, d := range []cardbroker.Durability{cardbroker.DurabilityCrash, cardbroker.DurabilityPower} {
		b.Run(d.String(), func(b *testing.B) {
			j, _ := create(b, d)
			defer j.Remove()
			answer := make([]byte, 270)
			seq := uint64(0)
			for b.Loop() {
				seq++
				check(b, j.Executing(seq, [32]byte{}))
				check(b, j.Done(journal.Answer{Type: 16, Payload: answer}))
			}
		})
	}
}
