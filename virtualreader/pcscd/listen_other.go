// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package pcscd

import (
	"net"

	"github.com/cardbroker/cardbroker"
)

// Listen says that this system has no such clients.
func Listen(string) (*net.UnixListener, error) {
	return nil, cardbroker.Errorf(cardbroker.Unsupported, "PC/SC clients can be served on Linux only")
}
