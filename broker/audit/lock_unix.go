// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package audit

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks an open file, or says at once that another process has done so.
func lockFile(file *os.File) error { return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
