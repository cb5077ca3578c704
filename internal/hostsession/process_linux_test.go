// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/hostsession"
)

// TestLargeEnvironment: of an environment no more is read than is looked at. A process may point its own at all memory that it has mapped,
// which costs it nothing, and would cost who reads it as much.
func TestLargeEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "environ")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = file.Write(make([]byte, 16*hostsession.MaxEnviron))
			file.Close()
		}
		written <- err
	}()
	if got := hostsession.BeginningOf(path); len(got) != hostsession.MaxEnviron {
		t.Errorf("%d bytes of an environment, want %d", len(got), hostsession.MaxEnviron)
	}
	if err := <-written; !errors.Is(err, syscall.EPIPE) {
		t.Errorf("all of it was read: %v", err)
	}
}

// TestManyHolders: of a socket that a great many descriptors hold nothing is found. Each of them would be kept, and looked at with each
// question.
func TestManyHolders(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		t.Fatal(err)
	}
	inode := uint32(stat.Ino)
	holders := func() int {
		return len(hostsession.Holders(map[uint32]cardbroker.UserID{inode: {UID: uint32(os.Getuid())}})[inode])
	}
	for n := 1; n < hostsession.MaxHolders; n++ {
		again, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(again)
	}
	if got := holders(); got != hostsession.MaxHolders {
		t.Errorf("%d holders, want %d", got, hostsession.MaxHolders)
	}
	one, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(one)
	if got := holders(); got != 0 {
		t.Errorf("%d holders, where there are too many, want none", got)
	}
}
