// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/internal/nodump"
)

// Limits of the process. There is none on memory: RLIMIT_AS keeps Go programs from starting threads and libraries from
// loading.
const (
	maxFiles    = 256      // below FD_SETSIZE: C libraries that use select(2) overrun memory above it
	maxFileSize = 16 << 20 // bytes
)

// Harden takes from this process what it never needs: core dumps and inspection by its own user, which would show a PIN;
// new privileges by exec; many descriptors; large files. It is called once, before the first card.
func Harden() error {
	if err := nodump.Set(); err != nil {
		return err
	}
	if err := forbidPrivileges(); err != nil {
		return fmt.Errorf("cannot forbid new privileges: %w", err)
	}
	for resource, limit := range map[int]uint64{
		unix.RLIMIT_NOFILE: maxFiles,
		unix.RLIMIT_FSIZE:  maxFileSize,
	} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("cannot set limit %d to %d: %w", resource, limit, err)
		}
	}
	return nil
}

// forbidPrivileges keeps setuid programs from being of use, in every thread. Where C code is linked in, Go cannot reach
// the threads that run already: then only this one and those that it starts.
func forbidPrivileges() error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	switch errno {
	case 0:
		return nil
	case unix.ENOTSUP:
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	return errno
}
