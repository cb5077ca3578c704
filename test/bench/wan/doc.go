// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package wan puts a tunnel's back end far away and measures what that costs: commands one by one and as scripts, and a lease that
// is taken up again after a cut. Where the kernel has netem, the way is a network of its own with that delay; else the bytes are
// held back here. It listens on loopback only, and works on Linux.
package wan
