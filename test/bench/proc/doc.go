// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package proc reads what processes take of memory and time, for the benchmarks. It works on Linux.
package proc
