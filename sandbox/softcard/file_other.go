// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package softcard

import "io/fs"

// openToOthers is false: the mode says nothing here, access is what the directory's list grants.
func openToOthers(fs.FileInfo) bool { return false }

// syncDirectory does nothing: directories cannot be synced, and a renaming is in the file system's journal.
func syncDirectory(string) error { return nil }
