// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package softcard

import (
	"io/fs"
	"os"
	"path/filepath"
)

// openToOthers says whether others than the owner may read or write the file.
func openToOthers(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }

// syncDirectory makes a renaming of the file last.
func syncDirectory(name string) error {
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
