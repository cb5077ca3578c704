// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package agents has agents that live in a process of the benchmarks: idle ones by the dozen, and one with cards made of
// memory, as many as are asked for. They are clients of a real broker, and work on Linux.
package agents
