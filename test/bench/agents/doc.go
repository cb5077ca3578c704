// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package agents has agents that live in a process of the benchmarks: idle ones by the dozen, and one with a card made of
// memory. They are clients of a real broker, and work on Linux.
package agents
