// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package consent

import (
	"os"

	"golang.org/x/sys/windows"
)

// tryLock takes the lock of an open file, which ends when the file is closed, or says that somebody has it.
func tryLock(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
}

// syncDir: NTFS logs renames by itself.
func syncDir(string) error { return nil }
