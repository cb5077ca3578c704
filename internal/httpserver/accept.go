// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cardbroker/cardbroker/internal/run"
)

const (
	openTimeout = 5 * time.Second // from the first byte to the end of the TLS handshake
	acceptAgain = 100 * time.Millisecond
	maxOpening  = 1024 // connections that have not got there, of all users; one more is closed

	recordHandshake = 0x16 // how a TLS connection begins, RFC 8446 §5.1; no HTTP request does
)

// Take is given each connection whose caller is known, before a request is read from it. A nil error says that it has
// served the connection to its end. With any other the connection is served after all: each request on it is answered
// with that error. Take returns soon after ctx has ended.
type Take func(ctx context.Context, conn *Conn) error

// feed is a listener of connections that are ready for HTTP.
type feed struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

var _ net.Listener = (*feed)(nil)

func newFeed() *feed {
	f := &feed{conns: make(chan net.Conn), closed: make(chan struct{})}
	f.close = sync.OnceFunc(func() { close(f.closed) })
	return f
}

// Accept returns the next connection.
func (f *feed) Accept() (net.Conn, error) {
	select {
	case conn := <-f.conns:
		return conn, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the feed.
func (f *feed) Close() error {
	f.close()
	return nil
}

// Addr is of no use.
func (f *feed) Addr() net.Addr { return &net.TCPAddr{} }

// put gives a connection to HTTP, or closes it where nobody serves any more.
func (f *feed) put(ctx context.Context, conn *Conn) {
	select {
	case f.conns <- conn.stream:
	case <-f.closed:
		conn.Close()
	case <-ctx.Done():
		conn.Close()
	}
}

// Accept accepts connections from one more listener until ctx ends or the listener is closed, while [Server.Serve] runs.
// It closes the listener, and returns when its connections have ended or are served.
func (s *Server) Accept(ctx context.Context, listener Listener) error {
	group := run.New(ctx)
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	accepting := &attesting{Listener: listener, server: s}
	for {
		conn, err := accepting.Accept()
		if errors.Is(err, net.ErrClosed) {
			group.Stop()
			return nil
		}
		if err != nil { // too many open files, perhaps: this passes, and the port must not be lost
			s.cfg.Log.Warn("cannot accept connections", "err", err)
			pause(ctx)
			continue
		}
		select {
		case s.opening <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		group.Go("connection", func(ctx context.Context) error {
			s.begin(ctx, listener, conn.(*Conn))
			return nil
		})
	}
}

// pause waits before the next try.
func pause(ctx context.Context) {
	timer := time.NewTimer(acceptAgain)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// begin finds out what a connection speaks and passes it on. It has a place in s.opening until that is known.
func (s *Server) begin(ctx context.Context, listener Listener, conn *Conn) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err := open(ctx, listener, conn)
	<-s.opening
	if err != nil {
		s.cfg.Log.Debug("connection ended before it said anything", "user", conn.place.user.String(), "err", err)
		conn.Close()
		return
	}
	if s.cfg.Take != nil && conn.err == nil {
		if conn.refusal = s.users.allow(conn.place, ""); conn.refusal == nil { // to take one is as much work as a request
			conn.refusal = s.cfg.Take(ctx, conn)
		}
		if conn.refusal == nil {
			conn.Close()
			return
		}
	}
	if stop() { // else it is closed
		s.feed.put(ctx, conn)
	}
}

// open makes the connection's stream, within a time.
func open(ctx context.Context, listener Listener, conn *Conn) error {
	if listener.TLS == nil {
		return nil
	}
	conn.Conn.SetDeadline(time.Now().Add(openTimeout))
	if listener.Plain {
		first := make([]byte, 1)
		if _, err := io.ReadFull(conn.Conn, first); err != nil {
			return err
		}
		conn.first = first
		if first[0] != recordHandshake {
			return conn.Conn.SetDeadline(time.Time{})
		}
	}
	stream := tls.Server(conn, listener.TLS)
	conn.stream = stream
	if err := stream.HandshakeContext(ctx); err != nil {
		return err
	}
	return conn.Conn.SetDeadline(time.Time{})
}
