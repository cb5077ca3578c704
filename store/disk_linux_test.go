// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/store"
)

// smallDisk mounts a disk of 1 MiB until the test ends, and returns where.
func smallDisk(t *testing.T) string {
	t.Helper()
	testenv.Root(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		testenv.Skip(t, fmt.Sprintf("needs to mount a tmpfs: %v", err))
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestFullDisk(t *testing.T) {
	dir := smallDisk(t)
	path, filler := filepath.Join(dir, "registry.db"), filepath.Join(dir, "filler")
	s := open(t, path, store.Options{})
	commit(t, s, cardbroker.Changes{Epoch: 1, Put: []cardbroker.Record{agent(1000, 24800, cardbroker.Registered)}})
	want := load(t, s)
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}

	var many cardbroker.Changes
	for i := range 500 {
		many.Put = append(many.Put, agent(uint32(2000+i), cardbroker.Port(30000+i), cardbroker.Reserved))
	}
	many.Epoch = 1
	for range 3 {
		wantError(t, "Commit()", s.Commit(t.Context(), many), cardbroker.Unavailable, path, "no space left")
		if got := load(t, s); !equal(got, want) {
			t.Fatalf("Load() has %d records, want %d", len(got.Records), len(want.Records))
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	commit(t, s, many)
	s.Close()
	if err := store.Check(path); err != nil {
		t.Errorf("Check() = %v", err)
	}
	if got := load(t, open(t, path, store.Options{})); len(got.Records) != 501 {
		t.Errorf("%d records, want 501", len(got.Records))
	}
}

func TestReadOnlyDisk(t *testing.T) {
	dir := smallDisk(t)
	path := filepath.Join(dir, "registry.db")
	open(t, path, store.Options{}).Close()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(path, store.Options{})
	wantError(t, "Open()", err, cardbroker.Invalid, path, "read-only file system")
	_, err = store.Open(filepath.Join(dir, "state", "registry.db"), store.Options{})
	wantError(t, "Open() of a new one", err, cardbroker.Invalid, "read-only file system")
	if err := store.Check(path); err != nil {
		t.Errorf("Check() = %v, want nil: it only reads", err)
	}
}

// TestFileIsCutOffWhileOpen: what is gone from under the broker was a memory fault in Commit, which ended it. bbolt stays
// locked after that, so that nothing may wait for it.
func TestFileIsCutOffWhileOpen(t *testing.T) {
	path := newPath(t)
	s := open(t, path, store.Options{})
	var changes cardbroker.Changes
	for i := range 200 {
		changes.Put = append(changes.Put, agent(uint32(1000+i), cardbroker.Port(24800+i), cardbroker.Registered))
	}
	commit(t, s, changes)
	if err := os.Truncate(path, int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantError(t, "Commit()", s.Commit(t.Context(), changes), cardbroker.Unavailable, path, "damaged")
	}
	_, err := s.Load(t.Context())
	wantError(t, "Load()", err, cardbroker.Internal, path, "damaged")
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}
