// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux || race

package quiet

import "net"

// New returns conn: other systems are not looked into, and the race detector learns from package syscall that what was sent comes before what
// was received.
func New(conn net.Conn) net.Conn { return conn }
