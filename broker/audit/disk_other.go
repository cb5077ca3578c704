// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package audit

// diskSpace is not known on this system.
func diskSpace(string) (free, all uint64) { return 0, 0 }
