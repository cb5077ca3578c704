// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// firstStream is the descriptor of the first stream; the others follow it.
const firstStream = 3

// Inherit returns the streams that the agent has handed over. Invalid: this process was not started by an agent.
func Inherit() ([]net.Conn, error) {
	for fd := firstStream; fd < firstStream+wire.Streams; fd++ { // all, before one is touched: it may be anything
		family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil || family != unix.AF_UNIX {
			return nil, cardbroker.Errorf(cardbroker.Invalid, "descriptor %d is not a stream of an agent", fd)
		}
	}
	streams := make([]net.Conn, 0, wire.Streams)
	for fd := firstStream; fd < firstStream+wire.Streams; fd++ {
		conn, err := newStream(fd)
		if err != nil {
			return nil, fmt.Errorf("cannot use descriptor %d: %w", fd, err)
		}
		streams = append(streams, conn)
	}
	return streams, nil
}
