// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"errors"
	"strings"
	"syscall"

	"golang.org/x/sys/windows"
)

// exclusiveAddrUse is SO_EXCLUSIVEADDRUSE of winsock2.h.
const exclusiveAddrUse = ^windows.SO_REUSEADDR

// exclusive keeps everybody else from the address, also who says SO_REUSEADDR, which on Windows shares with whoever is there.
func exclusive(network, _ string, conn syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var failed error
	err := conn.Control(func(fd uintptr) {
		failed = windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, exclusiveAddrUse, 1)
	})
	return errors.Join(err, failed)
}

// taken says whether somebody else has the address. Who has it exclusively makes it WSAEACCES.
func taken(err error) bool {
	return errors.Is(err, windows.WSAEADDRINUSE) || errors.Is(err, windows.WSAEACCES)
}
