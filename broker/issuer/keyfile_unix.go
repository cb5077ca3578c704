// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package issuer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// private says why an open file is not our own alone.
func private(info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !info.Mode().IsRegular():
		return errors.New("no regular file")
	case int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("of uid %d", stat.Uid)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("mode %04o", info.Mode().Perm())
	}
	return nil
}

// syncDir makes a file's new name last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
