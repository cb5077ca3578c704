// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// TestFullDisk fills the disk under a Registry: who is there stays, who comes is told to wait, and it heals by itself.
func TestFullDisk(t *testing.T) {
	testenv.Root(t)
	h := newTestHost(t, "")
	h.stop()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		testenv.Skip(t, fmt.Sprintf("needs to mount a tmpfs: %v", err))
	}
	t.Cleanup(func() { h.stop(); syscall.Unmount(dir, syscall.MNT_DETACH) })
	h.path = filepath.Join(dir, "registry.db")
	h.start()

	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	acknowledged := make(map[*testAgent]cardbroker.Port)
	var refused *testAgent
	for uid := uint32(1000); refused == nil; uid++ { // some fit into pages that the file has already
		a := h.logon(uid, "1")
		r, err := h.Reserve(t.Context(), a.Claim, nil)
		if err == nil {
			acknowledged[a] = r.Port
			continue
		}
		wantRefusal(t, "Reserve() on a full disk", err, cardbroker.Unavailable, "")
		refused = a
	}
	wantRefusal(t, "Degraded()", h.Degraded(), cardbroker.Unavailable, "")
	for a := range acknowledged {
		h.wantState(a, cardbroker.Reserved)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	acknowledged[refused] = refused.reserve()
	if err := h.Degraded(); err != nil {
		t.Errorf("Degraded() = %v, want nil", err)
	}
	h.restart()
	h.check()
	if got := len(h.View().Agents()); got != len(acknowledged) {
		t.Errorf("%d agents after a restart, want %d", got, len(acknowledged))
	}
	for a, port := range acknowledged {
		if found, ok := h.View().ByKey(a.Key); !ok || found.Port != port {
			t.Errorf("ByKey(%v) = %+v, want port %d", a.Key, found, port)
		}
	}
}
