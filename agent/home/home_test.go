// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package home

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker"
)

func TestHomeIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory that was made has mode %v, %v, want 0700", info.Mode().Perm(), err)
	}
	for _, mode := range []os.FileMode{0o755, 0o710, 0o701, 0o770} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("Open(mode %04o) = %v, want invalid", mode, err)
		}
	}
}

// TestSecretIsOne has two agents of a user start at once: both get the same secret, and nobody else can read it.
func TestSecretIsOne(t *testing.T) {
	h, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	secrets := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			secret, err := h.Secret()
			if err != nil {
				t.Error(err)
				return
			}
			secrets[i] = secret.Reveal()
		})
	}
	wg.Wait()
	for _, s := range secrets {
		if len(s) != 43 || !bytes.Equal(s, secrets[0]) {
			t.Fatalf("the agents have different secrets")
		}
	}
	info, err := os.Stat(filepath.Join(h.dir, secretFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret's file: %v, %v, want mode 0600", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(h.dir, ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDamagedSecret(t *testing.T) {
	h, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, secretFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Secret(); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("secret() = %v, want invalid", err)
	}
}

func TestNote(t *testing.T) {
	h, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadNote(h.dir, "1"); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("ReadNote without a note = %v, want unavailable", err)
	}
	want := Note{PID: 7, Session: "1", Port: 24800, Listen: []string{"127.0.0.1:24800"}, Broker: "/run/x"}
	if err := h.LeaveNote(want); err != nil {
		t.Fatal(err)
	}
	h.TakeNote("1", 8)                                                           // another agent's
	if err := h.LeaveNote(Note{PID: 9, Session: "2", Port: 24801}); err != nil { // and the note that came last
		t.Fatal(err)
	}
	if got, err := ReadNote(h.dir, "1"); err != nil || got.Port != want.Port || got.PID != want.PID {
		t.Errorf("ReadNote = %+v, %v, want %+v", got, err, want)
	}
	h.TakeNote("1", 7)
	if _, err := ReadNote(h.dir, "1"); err == nil {
		t.Error("the note is still there after its agent has taken it")
	}
}
