// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package sandbox

import (
	"net"

	"github.com/cardbroker/cardbroker"
)

// Inherit says that this system has no sandbox yet.
func Inherit() ([]net.Conn, error) {
	return nil, cardbroker.Errorf(cardbroker.Unsupported, "the sandbox does not run on this system")
}
