// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"net"
	"sync"
	"syscall"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// Forward is a connection that the broker has accepted in the agent's place, and whose caller it has attested.
type Forward struct {
	net.Conn        // a connection of the local socket
	Caller   Caller // as the kernel told the broker, with the ends of the browser's connection
	TLS      bool   // the browser speaks TLS to the broker
}

// Forwards is the listener of forwarded connections. Its owner has checked that each comes from the broker.
type Forwards struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

var _ net.Listener = (*Forwards)(nil)

// NewForwards returns a listener without connections.
func NewForwards() *Forwards {
	f := &Forwards{conns: make(chan net.Conn), closed: make(chan struct{})}
	f.close = sync.OnceFunc(func() { close(f.closed) })
	return f
}

// Deliver hands a connection to the server that accepts here. Where there is none any more, it is Unavailable, and the
// connection is the caller's still.
func (f *Forwards) Deliver(ctx context.Context, conn *Forward) error {
	select {
	case f.conns <- conn:
		return nil
	case <-f.closed:
		return cardbroker.Errorf(cardbroker.Unavailable, "nobody serves forwarded connections any more")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Accept returns the next connection, a *Forward.
func (f *Forwards) Accept() (net.Conn, error) {
	select {
	case conn := <-f.conns:
		return conn, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the listener, not its connections.
func (f *Forwards) Close() error {
	f.close()
	return nil
}

// Addr is of no use: the address that a caller has connected to is in its Caller.
func (f *Forwards) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// Forwarded is the kind of [Forwards].
type Forwarded struct {
	Name func() string // a further host name that callers may use at the moment; empty: none
}

var _ Kind = Forwarded{}

// Attest says what the broker said.
func (Forwarded) Attest(conn net.Conn) (Caller, error) { return conn.(*Forward).Caller, nil }

// StillThere says whether the broker still holds the connection: it lets go of it as soon as the kernel says that the
// caller has, and passes nothing on that came before.
func (Forwarded) StillThere(conn net.Conn) error {
	return peer.Joined(conn.(*Forward).Conn.(syscall.Conn))
}

// CheckHost wants what [Loopback.CheckHost] wants, with the port that the caller has connected to at the broker.
func (f Forwarded) CheckHost(host string, caller Caller) error {
	return checkHost(host, caller, f.Name())
}

// forwardedTLS says whether a browser speaks TLS to the broker on this connection.
func forwardedTLS(conn net.Conn) bool {
	forward, ok := conn.(*Forward)
	return ok && forward.TLS
}
