// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package home is an agent's state directory, 0700: a secret from which the ids of readers are made, a note of where the agent
// is, for `cardbroker agent status`, or of why nobody else can tell, and the journals of leases. Agents of a user share it. It owns the files' names and modes.
package home

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
)

// Home is the directory.
type Home struct{ dir string }

// Dir returns its path.
func (h Home) Dir() string { return h.dir }

// ElectedFile is locked, in its state directory, by the agent that is elected. It is empty.
const ElectedFile = "elected.lock"

const (
	secretFile = "secret"
	noteFile   = "agent.json"
)

// Note says where an agent is. It holds nothing secret.
type Note struct {
	PID     int                  `json:"pid"`
	Session cardbroker.SessionID `json:"session"`
	Port    cardbroker.Port      `json:"port"`
	Listen  []string             `json:"listen"`
	Broker  string               `json:"broker"` // the local socket
	Elects  cardbroker.Port      `json:"elects"` // where it looks for whoever was elected, in a host without a service; 0: it does not
}

// Open makes the directory where it is missing. One that others could read is refused.
func Open(dir string) (Home, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Home{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot make the state directory %s; name another with --state", dir)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return Home{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot use the state directory %s", dir)
	}
	if !Private(info) {
		return Home{}, cardbroker.Errorf(cardbroker.Invalid, "the state directory %s is open to others, or not yours; chown and chmod 0700", dir)
	}
	return Home{dir: dir}, nil
}

// Secret returns the agent's secret; the first agent of the user makes it.
func (h Home) Secret() (cardbroker.Secret, error) {
	path := filepath.Join(h.dir, secretFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = cardbroker.RandomSecret().Reveal()
		err = createOnce(path, text)
		if errors.Is(err, fs.ErrExist) { // another agent of the user was quicker
			text, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return cardbroker.Secret{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read or make %s", path)
	}
	if len(text) != cardbroker.RandomSecretSize {
		return cardbroker.Secret{}, cardbroker.Errorf(cardbroker.Invalid,
			"%s has %d bytes, want %d; remove it, and readers get new ids", path, len(text), cardbroker.RandomSecretSize)
	}
	return cardbroker.NewSecret(text), nil
}

// Journals returns the folder of the session's journals. Two sessions of one user have two. What is over in those of other
// sessions is removed: they may never come again.
func (h Home) Journals(session cardbroker.SessionID) (journal.Folder, error) {
	sum := sha256.Sum256([]byte(session))
	own := hex.EncodeToString(sum[:8])
	root := filepath.Join(h.dir, "leases")
	others, err := os.ReadDir(root)
	for _, other := range others {
		path := filepath.Join(root, other.Name())
		if other.Name() == own {
			continue
		}
		if folder, err := journal.OpenFolder(path); err == nil {
			cardend.Sweep(folder)
			os.Remove(path) // if it is empty
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return journal.Folder{}, err
	}
	return journal.OpenFolder(filepath.Join(root, own))
}

// createOnce makes a file with its whole content, or finds that it is there: a reader never sees half of it.
func createOnce(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

// notesOf returns where the note of a session is, and that of whichever agent of the user has come last.
func notesOf(dir string, session cardbroker.SessionID) []string {
	sum := sha256.Sum256([]byte(session))
	return []string{filepath.Join(dir, "agent-"+hex.EncodeToString(sum[:8])+".json"), filepath.Join(dir, noteFile)}
}

// LeaveNote writes where the agent is, if it has not said so already: all agents of the user watch the directory, and each write
// wakes all of them up.
func (h Home) LeaveNote(n Note) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	notes := notesOf(h.dir, n.Session)
	if said, err := os.ReadFile(notes[0]); err == nil && bytes.Equal(said, text) {
		return nil
	}
	for _, path := range notes {
		temp := fmt.Sprintf("%s.%d", path, n.PID)
		if err := os.WriteFile(temp, text, 0o600); err != nil {
			return err
		}
		if err := os.Rename(temp, path); err != nil {
			return err
		}
	}
	return nil
}

// TakeNote removes a session's notes that are this process's own.
func (h Home) TakeNote(session cardbroker.SessionID, pid int) {
	for _, path := range notesOf(h.dir, session) {
		if n, err := readNote(path); err == nil && n.PID == pid {
			os.Remove(path)
		}
	}
}

// ReadNote returns the note that the agent of a session has left in a state directory. Without one it is Unavailable.
func ReadNote(dir string, session cardbroker.SessionID) (n Note, err error) {
	for _, path := range notesOf(dir, session) {
		if n, err = readNote(path); err == nil && n.Session == session {
			return n, nil
		}
	}
	return Note{}, cardbroker.Wrapf(err, cardbroker.Unavailable, "no agent of session %s has left a note in %s", session, dir)
}

func readNote(path string) (Note, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Note{}, err
	}
	var n Note
	if err := json.Unmarshal(text, &n); err != nil {
		return Note{}, cardbroker.Wrapf(err, cardbroker.Invalid, "the note %s is damaged", path)
	}
	return n, nil
}
