// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards_test

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// hasChild says whether this process has a child, dead or alive.
func hasChild() bool {
	return unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) != unix.ECHILD
}

// dumpable says whether other processes of this user may look into this one.
func dumpable() bool {
	n, _, _ := syscall.Syscall6(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0, 0, 0, 0)
	return n != 0
}
