// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package home

import "io/fs"

// Private relies on the user's profile, whose access list is the system's to keep.
func Private(info fs.FileInfo) bool { return info.IsDir() }
