// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
)

func TestRoundTrip(t *testing.T) {
	listener, err := httpserver.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	rtt, ok := peer.RoundTrip(conn)
	if !ok || rtt <= 0 || rtt > time.Second {
		t.Errorf("RoundTrip on loopback = %v, %v", rtt, ok)
	}
	if _, ok := peer.RoundTrip(tls.Server(conn, &tls.Config{})); !ok {
		t.Error("RoundTrip does not see through TLS")
	}
	pipe, _ := net.Pipe()
	if _, ok := peer.RoundTrip(pipe); ok {
		t.Error("RoundTrip knows that of a pipe")
	}
	conn.Close()
	if _, ok := peer.RoundTrip(conn); ok {
		t.Error("RoundTrip knows that of a closed connection")
	}
}
