// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package nodump

// Set does nothing yet on this system.
func Set() error { return nil }
