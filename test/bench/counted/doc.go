// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package counted counts allocations: those of the benchmarks' own process, and those of a sandbox, which it is then itself, with
// a software card that can tell. It works on Linux.
package counted
