// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package line

import (
	"net"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Line would be the connection of a client. This system has none.
type Line struct{}

// Awake would count them.
type Awake struct{}

// New says so.
func New(conn *net.UnixConn, _ *Awake) (*Line, error) {
	conn.Close()
	return nil, cardbroker.Errorf(cardbroker.Unsupported, "PC/SC clients can be served on Linux only")
}

// NewAwake returns nil.
func NewAwake() *Awake { return nil }

// Lines returns 0.
func (*Awake) Lines() int { return 0 }

// The rest is never called.

// Close does nothing.
func (*Line) Close() {}

// Interrupt does nothing.
func (*Line) Interrupt() {}

// Limit does nothing.
func (*Line) Limit(time.Time) error { return nil }

// Read fails.
func (*Line) Read([]byte) (int, error) { return 0, net.ErrClosed }

// Send fails.
func (*Line) Send([]byte) error { return net.ErrClosed }
