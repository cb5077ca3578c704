// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package peer says who is at the other end of a connection, as the kernel knows it, and refuses where the kernel does
// not know it for certain. It owns a few netlink sockets and nothing else. It never decides what a caller may do, and
// never believes a name, a header, an environment variable or an address that a program can choose.
//
// On a loopback TCP connection the kernel is asked for the client's end by its two addresses. An address and a port
// can be somebody else's a moment later, so an answer counts only with [Established] after it: while our own end is
// ESTABLISHED, no other connection can have the same two addresses.
package peer

import (
	"net/netip"

	"github.com/cardbroker/cardbroker"
)

// Caller is who is at the other end of a connection, as the kernel says. The user is the one who created the socket: it
// stays the same when the socket is handed to another process or its process changes user.
type Caller struct {
	User   cardbroker.UserID
	PID    int    // for people and session hints; 0: unknown, as always for TCP on Linux
	Inode  uint32 // of the client's TCP socket; 0 for local sockets
	Cookie uint64 // of the client's TCP socket: unlike inodes it is never used again
	Cgroup uint64 // cgroup v2 id at the TCP socket's creation; 0: unknown

	// The ends of a TCP connection; zero for local sockets.
	Client, Server netip.AddrPort
}

// Listener is a TCP socket that accepts connections. Its user is the one who created it.
type Listener struct {
	User  cardbroker.UserID
	Inode uint32
}
