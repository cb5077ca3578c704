// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package agent

import "io/fs"

// private relies on the user's profile, whose access list is the system's to keep.
func private(info fs.FileInfo) bool { return info.IsDir() }
