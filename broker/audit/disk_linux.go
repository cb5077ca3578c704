// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import "golang.org/x/sys/unix"

// diskSpace returns how many bytes of the directory's file system are free for us, and of how many; 0, 0: unknown.
func diskSpace(dir string) (free, all uint64) {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return 0, 0
	}
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize)
}
