// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"net"

	"github.com/cardbroker/cardbroker"
)

// Remote is the kind of a listener that other machines reach: the kernel knows their address only, so the routes behind
// it ask for credentials. Limits of number and rate go by address.
type Remote struct{}

var _ Kind = Remote{}

// Attest names the address, as a user that no kernel gives.
func (Remote) Attest(conn net.Conn) (Caller, error) {
	client := addrPort(conn.RemoteAddr())
	return Caller{
		User:   cardbroker.UserID{SID: "address:" + client.Addr().String()},
		Client: client,
		Server: addrPort(conn.LocalAddr()),
	}, nil
}

// StillThere is always so: nothing depends on who holds the connection.
func (Remote) StillThere(net.Conn) error { return nil }

// CheckHost accepts any name: TLS has checked it for the client.
func (Remote) CheckHost(string, Caller) error { return nil }
