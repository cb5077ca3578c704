// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"net"
	"net/netip"

	"github.com/cardbroker/cardbroker"
)

// Remote is the kind of a listener that other machines reach: the kernel knows their address only, so the routes behind
// it ask for credentials. Limits of number and rate go by address, or by all that one machine may have of them.
type Remote struct{}

var _ Kind = Remote{}

// Attest names the address, as a user that no kernel gives.
func (Remote) Attest(conn net.Conn) (Caller, error) {
	client := addrPort(conn.RemoteAddr())
	return Caller{
		User:   cardbroker.UserID{SID: "address:" + machine(client.Addr().Unmap())},
		Client: client,
		Server: addrPort(conn.LocalAddr()),
	}, nil
}

// machine names the machine behind an address: every program of a host may use all of 127.0.0.0/8, and an IPv6 network
// gives a machine the choice of 2^64.
func machine(addr netip.Addr) string {
	switch {
	case addr.IsLoopback():
		return "127.0.0.1"
	case addr.Is6():
		network, _ := addr.Prefix(64) // fails for lengths over 128 only
		return network.String()
	}
	return addr.String()
}

// StillThere is always so: nothing depends on who holds the connection.
func (Remote) StillThere(net.Conn) error { return nil }

// CheckHost accepts any name: TLS has checked it for the client.
func (Remote) CheckHost(string, Caller) error { return nil }
