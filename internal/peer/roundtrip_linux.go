// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// RoundTrip returns the time to the other end of conn and back, smoothed by the kernel (TCP_INFO, RFC 6298 §2). ok is false
// where it cannot tell: conn is no TCP connection, or none any more. It sends nothing.
func RoundTrip(conn net.Conn) (rtt time.Duration, ok bool) {
	tcp := tcpOf(conn)
	if tcp == nil {
		return 0, false
	}
	err := control(tcp, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			rtt = time.Duration(info.Rtt) * time.Microsecond
		}
		return err
	})
	return rtt, err == nil && rtt > 0
}

// maxLayers is how much may lie over TCP: a WebSocket's deadlines, TLS, and what counts connections.
const maxLayers = 6

// tcpOf returns the TCP connection that conn is, or is spoken over; nil: none.
func tcpOf(conn net.Conn) *net.TCPConn {
	for range maxLayers {
		if tcp, ok := conn.(*net.TCPConn); ok {
			return tcp
		}
		over, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = over.NetConn()
	}
	return nil
}
