// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package leases has what the benchmarks of many leases need: tunnels that are used all at once, a disk to compare journals
// with, and a thousand leases in processes of their own, whose memory is read. It works on Linux.
package leases
