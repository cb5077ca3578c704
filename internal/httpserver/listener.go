// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/quiet"
	"github.com/cardbroker/cardbroker/internal/run"
)

// Caller is who sent a request, as the kernel says.
type Caller = peer.Caller

// Kind is one kind of listener: it knows how the kernel names the callers behind it.
type Kind interface {
	// Attest says who is behind a connection that was just accepted.
	Attest(conn net.Conn) (Caller, error)
	// StillThere says, right before an action, whether that caller still holds the connection.
	StillThere(conn net.Conn) error
	// CheckHost says whether a request may name this host by the given Host header.
	CheckHost(host string, caller Caller) error
}

// Listener is a listener and its kind.
type Listener struct {
	net.Listener
	Kind  Kind
	TLS   *tls.Config // spoken on its connections; nil: none
	Plain bool        // beside TLS: a connection whose first byte begins no TLS record speaks HTTP as it is
}

// opened says whether connections need something before HTTP, and so go through [Server.Accept].
func (l Listener) opened(take Take) bool { return take != nil || l.TLS != nil && l.Plain }

// attesting accepts connections as [Conn].
type attesting struct {
	Listener
	server *Server
}

// Accept returns the next connection whose user has not too many. One too many is served nothing but the reason, as long
// as there are few of these; then it is closed.
func (l *attesting) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		conn := &Conn{Conn: raw, calls: quiet.New(raw), kind: l.Kind}
		conn.stream = conn
		conn.caller, conn.err = l.Kind.Attest(raw)
		user := conn.caller.User
		if conn.err != nil {
			user = unnamed
		}
		place, err := l.server.users.enter(user)
		if place == nil {
			l.turnAway(conn, user, err)
			continue
		}
		if err != nil {
			conn.err = err
		}
		conn.place = place
		conn.release = func() { l.server.users.leave(place) }
		return conn, nil
	}
}

// turnAway closes a connection before anything of it was read; over TLS nothing can be said then. It tells of it first: who was
// turned away may ask why.
func (l *attesting) turnAway(conn *Conn, user cardbroker.UserID, err error) {
	l.server.tell(conn.caller, user, err)
	if l.TLS == nil {
		l.server.refuseConn(conn.Conn, err)
	}
	conn.Conn.Close()
}

// refuseConn answers a connection with err before anything of it was parsed.
func (s *Server) refuseConn(conn net.Conn, err error) {
	a := unaskedAnswer{header: http.Header{}}
	s.setEpoch(a.header)
	api.WriteError(&a, err)
	text := http.Response{
		StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, Header: a.header, Close: true,
		Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()), // its end may be a reset, if the client has sent something
	}
	out := bufio.NewWriter(conn)
	text.Write(out)
	out.Flush() // an error is the connection's
}

// unaskedAnswer is a http.ResponseWriter without a request.
type unaskedAnswer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *unaskedAnswer) Header() http.Header { return a.header }

func (a *unaskedAnswer) WriteHeader(status int) { a.status = status }

func (a *unaskedAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }

// Serve serves one listener until ctx ends, then shuts down within the limits of this package.
func Serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	return serve(ctx, server, listener, stopTimeout)
}

// serve is Serve with a limit of its own.
func serve(ctx context.Context, server *http.Server, listener net.Listener, patience time.Duration) error {
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	group := run.New(ctx)
	group.Go("accept", func(context.Context) error {
		if server.TLSConfig != nil {
			return server.ServeTLS(listener, "", "")
		}
		return server.Serve(listener)
	})
	group.Go("stop", func(ctx context.Context) error {
		<-ctx.Done()
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		if err := server.Shutdown(deadline); err != nil {
			return errors.Join(err, server.Close())
		}
		return nil
	})
	return group.Wait()
}
