// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package home

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cardbroker/cardbroker"
)

// TestWaiting: what an agent says is there until it ends it, or ends itself, whichever way.
func TestWaiting(t *testing.T) {
	h, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	says := func(want Waits, there bool) {
		t.Helper()
		got, ok := ReadWaits(h.dir, "1")
		same := got.PID == want.PID && got.Port == want.Port && (got.Why == nil) == (want.Why == nil)
		if ok != there || there && !same {
			t.Errorf("ReadWaits = %+v, %v, want %+v, %v", got, ok, want, there)
		}
	}
	w := h.Waiting("1")
	says(Waits{}, false)
	w.Say(0, nil)
	says(Waits{PID: os.Getpid()}, true)
	refusal := cardbroker.Errorf(cardbroker.CallerRefused, "port 1 is bob's")
	w.Say(24800, refusal)
	if got, _ := ReadWaits(h.dir, "1"); got.Port != 24800 || got.Why == nil || got.Why.Reason != cardbroker.CallerRefused || got.Why.Description != "port 1 is bob's" {
		t.Errorf("ReadWaits = %+v", got)
	}
	w.Say(24801, nil)
	before, err := os.Stat(w.path)
	w.Say(24800, refusal) // what has been said is not said again: each write wakes up all agents of the user
	if after, failed := os.Stat(w.path); err != nil || failed != nil || !os.SameFile(before, after) {
		t.Errorf("the note was written again: %v, %v", err, failed)
	}
	if _, there := ReadWaits(h.dir, "2"); there {
		t.Error("an agent of another session waits")
	}
	w.End()
	says(Waits{}, false)
	if files, _ := filepath.Glob(filepath.Join(h.dir, "waiting-*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}

	w.Say(0, errors.New("of which nothing may be shown"))
	if got, _ := ReadWaits(h.dir, "1"); got.Why == nil || got.Why.Description != "internal error" {
		t.Errorf("ReadWaits = %+v", got)
	}
	w.drop() // as the kernel does for who is killed
	says(Waits{}, false)
	if _, err := os.Stat(w.path); err != nil {
		t.Errorf("the note is gone with its lock: %v", err)
	}
	next := h.Waiting("1")
	next.Say(24801, nil)
	says(Waits{PID: os.Getpid(), Port: 24801}, true)
	next.End()
}

// TestWaitingForTwo: of two agents of one session each takes its own note away, and never the other's.
func TestWaitingForTwo(t *testing.T) {
	h, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	first, second := h.Waiting("1"), h.Waiting("1")
	first.Say(24800, nil)
	second.Say(24801, nil)
	first.End()
	if got, there := ReadWaits(h.dir, "1"); !there || got.Port != 24801 {
		t.Errorf("ReadWaits = %+v, %v, want what the second says", got, there)
	}
	second.End()
	if files, _ := filepath.Glob(filepath.Join(h.dir, "waiting-*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}
