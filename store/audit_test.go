// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"path/filepath"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/store"
)

// TestAuditHead keeps a head from one opening to the next, beside what the registry keeps.
func TestAuditHead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	var want cardbroker.Anchor
	for i := range 3 {
		s, err := store.Open(path, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.AuditHead(t.Context()); err != nil || got != want {
			t.Errorf("AuditHead() = %v, %v, want %v", got, err, want)
		}
		want = cardbroker.Anchor{Seq: uint64(100 + i), Hash: [32]byte{byte(i), 31: 7}}
		if err := s.KeepAuditHead(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), cardbroker.Changes{Epoch: uint64(i)}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Check(path); err != nil {
		t.Error(err)
	}
}
