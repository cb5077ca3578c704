// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Voice is where this process logs to.
type Voice struct{ io.Writer }

// OwnVoice returns standard error as a descriptor of its own, so that what we log can be told from what a library prints; on an error
// it returns the other writer.
func OwnVoice(other io.Writer) (Voice, error) {
	fd, err := unix.FcntlInt(uintptr(unix.Stderr), unix.F_DUPFD_CLOEXEC, unix.Stderr+1)
	if err != nil {
		return Voice{other}, fmt.Errorf("cannot copy standard error: %w", err)
	}
	return Voice{os.NewFile(uintptr(fd), "log")}, nil
}

// Hush has standard error go where standard output goes, which is nowhere: the agent reads that from nobody. An own voice stays. What a
// library prints may name a PIN, and so may what Go's runtime says of its crash, the registers.
func (Voice) Hush() error { return unix.Dup3(unix.Stdout, unix.Stderr, 0) }
