// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package nodump

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Set forbids core dumps of this process, and other programs of its user to look into it, prctl(2) PR_SET_DUMPABLE. An exec
// undoes the latter.
func Set() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot forbid core dumps: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("cannot forbid core dumps: %w", err)
	}
	return nil
}
