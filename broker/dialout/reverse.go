// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package dialout

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

const (
	reverseTimeout = 10 * time.Second // until a connection is there and turned
	maxAnswer      = 8 << 10          // of a proxy or rendezvous, its header, in bytes
)

// connect makes a TCP connection to the rendezvous, through the proxy if there is one.
func (c *Caller) connect(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: pingEvery, Interval: pingEvery, Count: 3}}
	dialer.SetMultipathTCP(false)
	if c.proxy == "" {
		return dialer.DialContext(ctx, "tcp", c.server)
	}
	conn, err := dialer.DialContext(ctx, "tcp", c.proxy)
	if err != nil {
		return nil, err
	}
	err = exchange(ctx, conn, func() error {
		if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", c.server, c.server); err != nil {
			return err
		}
		response, early, err := readAnswer(conn, &http.Request{Method: http.MethodConnect})
		if err == nil && (response.StatusCode != http.StatusOK || len(early) > 0) {
			err = cardbroker.Errorf(cardbroker.Unavailable, "the proxy answered %s", response.Status)
		}
		return err
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// reverse makes a connection to the rendezvous for an id. What it reads are the other side's requests.
func (c *Caller) reverse(ctx context.Context, id string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, reverseTimeout)
	defer cancel()
	header, err := c.header()
	if err != nil {
		return nil, err
	}
	raw, err := c.connect(ctx)
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the host cannot reach the rendezvous")
	}
	conn := &reversed{Conn: tls.Client(raw, c.cfg.TLS), release: sync.OnceFunc(func() { <-c.slots })}
	err = exchange(ctx, raw, func() (err error) {
		conn.early, err = upgrade(ctx, conn.Conn, c.server, "/cb/v1/rendezvous/"+id, header)
		return err
	})
	if err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// exchange runs a conversation that ends with ctx.
func exchange(ctx context.Context, conn net.Conn, talk func() error) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := talk()
	if !stop() {
		return ctx.Err()
	}
	return err
}

// upgrade asks for the path's upgrade, and returns what has come after it already.
func upgrade(ctx context.Context, conn *tls.Conn, host, path string, header http.Header) ([]byte, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the host does not trust the rendezvous, or is not trusted")
	}
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", api.ReverseProtocol)
	var request bytes.Buffer
	fmt.Fprintf(&request, "GET %s HTTP/1.1\r\nHost: %s\r\n", path, host)
	header.Write(&request)
	request.WriteString("\r\n")
	defer clear(request.Bytes()) // it holds a token
	if _, err := conn.Write(request.Bytes()); err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the connection was cut")
	}
	response, early, err := readAnswer(conn, nil)
	switch {
	case err != nil:
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the connection was cut")
	case response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Upgrade") != api.ReverseProtocol:
		return nil, api.ReadError(response) // a redirection, too: nobody follows it
	}
	return early, nil
}

// readAnswer reads the header of the answer to a request, and what has come after it.
func readAnswer(conn net.Conn, request *http.Request) (*http.Response, []byte, error) {
	in := bufio.NewReaderSize(&limited{conn, maxAnswer}, 1<<10)
	response, err := http.ReadResponse(in, request)
	if err != nil {
		return nil, nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols && response.StatusCode != http.StatusOK {
		return response, nil, nil // its body says why
	}
	early, _ := in.Peek(in.Buffered()) // all there is cannot fail
	return response, bytes.Clone(early), nil
}

// limited reads no more than left bytes.
type limited struct {
	net.Conn
	left int
}

// Read fails when there is too much.
func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, cardbroker.Errorf(cardbroker.TooLarge, "the answer is over %d bytes", maxAnswer)
	}
	n, err := l.Conn.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// reversed is a connection that this side has made and on which the other side asks.
type reversed struct {
	*tls.Conn
	early   []byte // read already
	release func()
}

// Read reads what was read already, then from the connection.
func (r *reversed) Read(p []byte) (int, error) {
	if len(r.early) > 0 {
		n := copy(p, r.early)
		r.early = r.early[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

// Close closes the connection and makes room for another one.
func (r *reversed) Close() error {
	r.release()
	return r.Conn.Close()
}

// Kind is the kind of a [Caller] as a listener: who asks there is the rendezvous, which TLS has verified.
type Kind struct{}

var _ httpserver.Kind = Kind{}

// Attest names the rendezvous, as a user that no kernel gives.
func (Kind) Attest(conn net.Conn) (httpserver.Caller, error) {
	return httpserver.Caller{
		User:   cardbroker.UserID{SID: "rendezvous"},
		Client: end(conn.RemoteAddr()),
		Server: end(conn.LocalAddr()),
	}, nil
}

func end(addr net.Addr) netip.AddrPort {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}

// StillThere is always so: nothing depends on who holds the connection.
func (Kind) StillThere(net.Conn) error { return nil }

// CheckHost accepts any name: no web page has such a connection.
func (Kind) CheckHost(string, httpserver.Caller) error { return nil }
