// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// ForwardLeg fetches the connection that the broker has accepted for the agent: what the caller sends can be read from it.
func (b *Broker) ForwardLeg(ctx context.Context, id string) (net.Conn, error) {
	conn, err := b.dial(ctx)
	if err != nil {
		return nil, err
	}
	leg, err := upgradeForward(ctx, conn.(*net.UnixConn), id)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return leg, nil
}

func upgradeForward(ctx context.Context, conn *net.UnixConn, id string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	conn.SetDeadline(time.Now().Add(dialTimeout))
	_, err := fmt.Fprintf(conn, "GET /local/v1/forwards/%s HTTP/1.1\r\nHost: cardbroker\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n",
		url.PathEscape(id), api.ForwardProtocol)
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the connection was cut")
	}
	in := bufio.NewReaderSize(conn, 1<<10)
	response, err := http.ReadResponse(in, nil)
	switch {
	case err != nil:
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the connection was cut")
	case response.StatusCode != http.StatusSwitchingProtocols:
		return nil, api.ReadError(response)
	case !stop():
		return nil, ctx.Err()
	}
	early, _ := in.Peek(in.Buffered()) // all there is cannot fail
	return &leg{UnixConn: conn, early: bytes.Clone(early)}, conn.SetDeadline(time.Time{})
}

// leg is a connection of which something was read already.
type leg struct {
	*net.UnixConn
	early []byte
}

// Read reads what was read already, then from the connection.
func (l *leg) Read(p []byte) (int, error) {
	if len(l.early) > 0 {
		n := copy(p, l.early)
		l.early = l.early[n:]
		return n, nil
	}
	return l.UnixConn.Read(p)
}

// WriteTo is not the connection's own, which would not know of what was read.
func (l *leg) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{l})
}
