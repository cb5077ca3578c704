// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package integration tests the real programs together: what goes wrong on a shared host, and that nothing acknowledged
// is lost by it and nothing left behind.
package integration
