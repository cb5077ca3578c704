// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package logs writes to the system's own log what has to outlive ours.
package logs
