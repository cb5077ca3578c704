// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package calls has what the benchmarks of PC/SC need besides the product: a client that makes the calls of the API one
// by one, through the C library; the software card behind a PC/SC service of ours; and a look at what is asked of a service.
// They speak the protocol of pcsc-lite over Unix sockets, and work on Linux.
package calls
