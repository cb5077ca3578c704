// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package stage runs the real programs for the demo, the benchmarks and the end-to-end tests: in a directory of its own,
// as several users of the system, with everything ended and removed afterwards. It works on Linux.
package stage
