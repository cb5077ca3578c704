// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/store"
)

// TestVolatile opens files that nobody will read: what is damaged, or no store, is made anew, or an agent could never hold office
// again; but for one that another has open, and what is no file.
func TestVolatile(t *testing.T) {
	for name, content := range map[string][]byte{
		"zeros": make([]byte, 64<<10), "junk": bytes.Repeat([]byte("junk"), 16<<10), "short": []byte("x"), "none": nil,
	} {
		path := filepath.Join(t.TempDir(), "elected.db")
		if content != nil {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := store.Open(path, store.Options{Volatile: true})
		if err != nil {
			t.Errorf("%s: Open() = %v", name, err)
			continue
		}
		if err := s.Commit(t.Context(), cardbroker.Changes{Epoch: 7, Anew: true}); err != nil {
			t.Errorf("%s: Commit() = %v", name, err)
		}
		if _, err := store.Open(path, store.Options{Volatile: true}); cardbroker.ReasonOf(err) != cardbroker.Conflict {
			t.Errorf("%s: Open() of a store that is open = %v, want conflict", name, err)
		}
		if kept, err := s.Load(t.Context()); err != nil || kept.Epoch != 7 {
			t.Errorf("%s: Load() = %+v, %v", name, kept, err)
		}
		s.Close()
	}
	folder := filepath.Join(t.TempDir(), "elected.db")
	target := filepath.Join(folder, "kept")
	if err := os.MkdirAll(target, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(folder, store.Options{Volatile: true}); err == nil {
		t.Error("Open() of a folder = nil")
	}
	if _, err := os.Stat(target); err != nil {
		t.Errorf("the folder is gone: %v", err)
	}
}
