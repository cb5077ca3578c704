// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/internal/peer"
)

// TestLockHolder: who holds a lock is found although he hides what he has open, as agents do.
func TestLockHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if pid, _ := peer.LockHolder(path); pid != 0 {
		t.Errorf("process %d holds a file that is not there", pid)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if pid, _ := peer.LockHolder(path); pid != 0 {
		t.Errorf("process %d holds a file that nobody has locked", pid)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if pid, name := peer.LockHolder(path); pid != os.Getpid() || name == "" {
		t.Errorf("LockHolder() = %d, %q, want this process", pid, name)
	}
}
