// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package consent

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock of an open file, which ends when the file is closed, or says that somebody has it.
func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// syncDir makes a rename in the directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
