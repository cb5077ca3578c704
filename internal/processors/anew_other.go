// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package processors

// least returns how many processors this process has at rest.
func least() int { return 1 }
