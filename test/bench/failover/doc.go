// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package failover measures agents that elect their registry: it has the program test/election kill their leaders, and reads what
// that found. It works on Linux, as root.
package failover
