// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package home

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// Waits is what an agent says that runs and is not registered: no registry can tell of it. It holds nothing secret.
type Waits struct {
	PID     int                  `json:"pid"`
	Session cardbroker.SessionID `json:"session"`
	Port    cardbroker.Port      `json:"port"` // that it has bound, and serves at; 0: none
	Why     *api.ErrorBody       `json:"why"`  // null: it has had no answer yet
}

// Waiting leaves a note for who looks for the agent of a session, from Say to End. The agent keeps it locked: whatever ends the process
// makes the note void. Without locks there is none. It has one owner.
type Waiting struct {
	path string
	said Waits
	text string      // what is in the file; empty: there is none
	file os.FileInfo // of our file, while it is locked: another has its number only when it is closed
	lock io.Closer
}

// Waiting returns one that has said nothing yet.
func (h Home) Waiting(session cardbroker.SessionID) *Waiting {
	return &Waiting{path: waitingPath(h.dir, session), said: Waits{PID: os.Getpid(), Session: session}}
}

func waitingPath(dir string, session cardbroker.SessionID) string {
	sum := sha256.Sum256([]byte(session))
	return filepath.Join(dir, "waiting-"+hex.EncodeToString(sum[:8])+".json")
}

// Say says why the agent is not registered; nil: it asks for the first time, which takes nothing back. It writes only what is new, since each write
// wakes up all agents of the user. A note that cannot be left is for people, and no error.
func (w *Waiting) Say(port cardbroker.Port, why error) {
	if why == nil && w.text != "" {
		return
	}
	w.said.Port, w.said.Why = port, nil
	if why != nil {
		body := api.Describe(why)
		w.said.Why = &body
	}
	text, err := json.Marshal(w.said)
	if err != nil || string(text) == w.text {
		return
	}
	temp := fmt.Sprintf("%s.%d", w.path, w.said.PID)
	defer os.Remove(temp) // it has its name, or never gets it
	if os.WriteFile(temp, text, 0o600) != nil {
		return
	}
	lock, err := peer.Lock(temp)
	if err != nil {
		return
	}
	file, err := os.Lstat(temp)
	if err != nil || os.Rename(temp, w.path) != nil {
		lock.Close()
		return
	}
	w.drop()
	w.lock, w.file, w.text = lock, file, string(text)
}

// End takes the note away: the agent is registered, or ends. Whose note it is it does not look up in the kernel's list of locks: others make that
// as long as they like, and an agent would be as long without an answer to its registry.
func (w *Waiting) End() {
	if w.text == "" {
		return
	}
	if now, err := os.Lstat(w.path); err == nil && os.SameFile(now, w.file) { // else another agent of the session has left its own there
		os.Remove(w.path)
	}
	w.drop()
	w.text = ""
}

func (w *Waiting) drop() {
	if w.lock != nil {
		w.lock.Close()
	}
	w.lock = nil
}

// ReadWaits returns what an agent of a session says that runs and is not registered; false: there is none.
func ReadWaits(dir string, session cardbroker.SessionID) (w Waits, there bool) {
	path := waitingPath(dir, session)
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &w) != nil || w.Session != session {
		return Waits{}, false
	}
	w.PID, _ = peer.LockedBy(path)
	return w, w.PID != 0
}
