// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package httpserver

import (
	"errors"
	"syscall"
)

// exclusive has nothing to do: an address that somebody listens on, be it as part of all addresses, is nobody else's, but for
// SO_REUSEPORT, which only counts if both say it. SO_REUSEADDR, which Go sets, lets an address be taken whose connections linger.
func exclusive(string, string, syscall.RawConn) error { return nil }

// taken says whether somebody else has the address.
func taken(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
