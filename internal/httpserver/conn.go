// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
)

// Conn is a connection that was attested when it was accepted.
type Conn struct {
	net.Conn
	calls   net.Conn // the same, for Read and Write
	kind    Kind
	caller  Caller
	err     error    // why nothing is served on it: there is no caller, or he has too many
	refusal error    // what every request is answered with, though the caller is known
	place   *place   // that it takes among its user's
	stream  net.Conn // what HTTP is spoken on: TLS over the connection, or itself
	first   []byte   // read already, to see what is spoken
	release func()
}

// Caller returns who is at the other end, by the kernel.
func (c *Conn) Caller() Caller { return c.caller }

// StillThere says whether the caller still holds the connection.
func (c *Conn) StillThere() error { return c.kind.StillThere(c.Conn) }

// NetConn returns the connection that was attested, which is of the system's.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Stream returns what HTTP is spoken on: TLS over the connection, or the connection itself.
func (c *Conn) Stream() net.Conn { return c.stream }

// Secure says whether that is TLS.
func (c *Conn) Secure() bool { return c.stream != net.Conn(c) }

// Read reads what was read already, then from the connection.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.calls.Read(p)
}

// Write writes to the connection.
func (c *Conn) Write(p []byte) (int, error) { return c.calls.Write(p) }

// CloseWrite tells the other side that nothing more will be sent, where the connection knows how to.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close closes the connection and gives its place back.
func (c *Conn) Close() error {
	c.release()
	return c.Conn.Close()
}

type connKey struct{}

// connContext puts the attested connection where handlers find it.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	if overTLS, ok := conn.(*tls.Conn); ok {
		conn = overTLS.NetConn()
	}
	return context.WithValue(ctx, connKey{}, conn)
}

func connOf(ctx context.Context) *Conn {
	conn, ok := ctx.Value(connKey{}).(*Conn)
	if !ok {
		panic("BUG: a request that came through no attesting listener")
	}
	return conn
}

// CallerOf returns who sent the request with this context. The kernel has attested it.
func CallerOf(ctx context.Context) Caller { return connOf(ctx).caller }

// StillThere says whether the caller of the request with this context still holds its connection. Handlers ask again
// after they have waited for the user.
func StillThere(ctx context.Context) error { return connOf(ctx).StillThere() }

// Elsewhere gives back the place that the connection of the request with this context has taken among its user's: what
// it is for is counted by somebody else. A handler that takes the connection over calls it.
func Elsewhere(ctx context.Context) { connOf(ctx).release() }

// URL returns how the page that sent the request names this program, without port: https and the name that it used over
// TLS, which is the certificate's, else http://127.0.0.1.
func URL(r *http.Request) string {
	if r.TLS == nil && !forwardedTLS(connOf(r.Context()).Conn) {
		return "http://127.0.0.1"
	}
	name, _, _ := cutLast(r.Host, ":")
	return "https://" + strings.ToLower(name)
}
