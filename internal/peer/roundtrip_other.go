// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package peer

import (
	"net"
	"time"
)

// RoundTrip is not known on this system.
func RoundTrip(net.Conn) (rtt time.Duration, ok bool) { return 0, false }
