// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/cardbroker/cardbroker"
)

// Folder is where the journals of a session's leases are. The zero Folder is none: no lease outlives its connection.
type Folder struct{ path string }

const suffix = ".journal"

// OpenFolder makes the folder where it is missing, 0700. One on a network file system is Unsupported: what is written there may
// be lost, or wait for a network, while the card works.
func OpenFolder(path string) (Folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return Folder{}, failed(err)
	}
	if !local(path) {
		return Folder{}, cardbroker.Errorf(cardbroker.Unsupported, "the journals of leases cannot be kept on a network file system")
	}
	return Folder{path: path}, nil
}

// None says whether there is no folder.
func (f Folder) None() bool { return f.path == "" }

// Create makes the journal of the lease of that name, which is letters and digits; and the folder, which another agent of the user may
// have removed while it was empty.
func (f Folder) Create(name string, note []byte, d cardbroker.Durability) (*Journal, error) {
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return nil, failed(err)
	}
	return Create(filepath.Join(f.path, name+suffix), note, d)
}

// Open opens the journal of that name.
func (f Folder) Open(name string) (*Journal, State, error) {
	return Open(filepath.Join(f.path, name+suffix))
}

// Discard removes the journal of that name, if there is one.
func (f Folder) Discard(name string) { os.Remove(filepath.Join(f.path, name+suffix)) }

// Names returns the names of the journals that an earlier process has left.
func (f Folder) Names() []string {
	if f.None() {
		return nil
	}
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return nil
	}
	var names []string
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), suffix); ok && entry.Type().IsRegular() {
			names = append(names, name)
		}
	}
	return names
}
