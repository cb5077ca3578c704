// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package devicekey

// yield does nothing on this system.
func yield() {}
