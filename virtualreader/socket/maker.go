// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

const (
	readBuffer       = 512      // of each connection, all the time
	writeBuffer      = 16 << 10 // of a connection while it writes: one TLS record
	firstBuffer      = 512      // of a message: all but the rarest fit
	handshakeTimeout = 30 * time.Second
)

// Maker makes the connections of one part of the program, which share their buffers. It may be used by any number of
// goroutines.
type Maker struct {
	subprotocol string
	kind        int // gorilla's type of every message
	upgrader    websocket.Upgrader
	writeBufs   wiped     // of gorilla's
	buffers     sync.Pool // of *buffer
}

// NewMaker returns a maker of connections with binary messages that speak the subprotocol and nothing else.
func NewMaker(subprotocol string) *Maker { return newMaker(subprotocol, websocket.BinaryMessage) }

// NewJSONMaker returns a maker of connections with text messages. An empty subprotocol is none.
func NewJSONMaker(subprotocol string) *Maker { return newMaker(subprotocol, websocket.TextMessage) }

func newMaker(subprotocol string, kind int) *Maker {
	m := &Maker{subprotocol: subprotocol, kind: kind}
	m.upgrader = websocket.Upgrader{
		HandshakeTimeout: handshakeTimeout,
		ReadBufferSize:   readBuffer,
		WriteBufferSize:  writeBuffer,
		WriteBufferPool:  &m.writeBufs,
		Subprotocols:     m.subprotocols(),
		CheckOrigin:      func(*http.Request) bool { return true }, // Check has refused it already
		Error:            malformed,
	}
	return m
}

// malformed answers a handshake that gorilla does not accept, in JSON like every error.
func malformed(w http.ResponseWriter, _ *http.Request, _ int, why error) {
	api.WriteError(w, cardbroker.Wrapf(why, cardbroker.Invalid, "the WebSocket handshake is malformed"))
}

// Check says whether r may be upgraded: Invalid if it is no WebSocket handshake (RFC 6455 §4.2.1) or not for the maker's
// subprotocol, OriginDenied if it comes from a web page. Check comes first, then all that may refuse r, then Upgrade: what
// Upgrade alone would find wrong, it would find when a ticket is burnt already.
func (m *Maker) Check(r *http.Request) error {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case !websocket.IsWebSocketUpgrade(r):
		return cardbroker.Errorf(cardbroker.Invalid, "this address takes WebSocket connections only")
	case r.Method != http.MethodGet || r.Header.Get("Sec-WebSocket-Version") != "13" || err != nil || len(key) != 16:
		return cardbroker.Errorf(cardbroker.Invalid, "the WebSocket handshake is malformed")
	case m.subprotocol != "" && !slices.Contains(websocket.Subprotocols(r), m.subprotocol):
		return cardbroker.Errorf(cardbroker.Invalid, "the subprotocol is missing, want %s", m.subprotocol)
	case len(r.Header.Values("Origin")) > 0:
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleSocketOrigin, "not for web pages")
	}
	return nil
}

// Upgrade answers a request that passed [Maker.Check]. The handler returns soon afterwards and leaves reading to a
// goroutine of somebody else's, or the connection keeps net/http's buffers. If Upgrade fails, it has answered itself.
func (m *Maker) Upgrade(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	ws, err := m.upgrader.Upgrade(patientWriter{w}, r, epochOf(w))
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "the WebSocket handshake failed")
	}
	return m.conn(ws), nil
}

// epochOf returns what the answer to a handshake says besides: who answers, if that has an epoch.
func epochOf(w http.ResponseWriter) http.Header {
	if epoch := w.Header().Get(api.EpochHeader); epoch != "" {
		return http.Header{api.EpochHeader: {epoch}}
	}
	return nil
}

// Dial says where a connection goes.
type Dial struct {
	URL    string // ws:// or wss://
	Header http.Header
	TLS    *tls.Config // for wss
	// Net makes the connection below; nil: plain TCP to URL's host. The agent goes to the broker's local socket.
	Net func(ctx context.Context) (net.Conn, error)
}

// Dial connects. If the other side has answered the handshake with anything but yes, the error is Unavailable and comes
// with the response, whose body is there without being closed (1 KiB of it).
func (m *Maker) Dial(ctx context.Context, d Dial) (*Conn, *http.Response, error) {
	var unwatch func() bool
	dialer := websocket.Dialer{
		NetDialContext: func(limited context.Context, network, addr string) (net.Conn, error) {
			conn, err := d.connect(limited, network, addr)
			if err != nil {
				return nil, err
			}
			unwatch = context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) // gorilla heeds deadlines only
			return newPatient(conn), nil
		},
		TLSClientConfig:  d.TLS,
		HandshakeTimeout: handshakeTimeout,
		ReadBufferSize:   readBuffer,
		WriteBufferSize:  writeBuffer,
		WriteBufferPool:  &m.writeBufs,
		Subprotocols:     m.subprotocols(),
	}
	ws, response, err := dialer.DialContext(ctx, d.URL, d.Header)
	if unwatch != nil && !unwatch() && err == nil { // too late: the connection may have the deadline
		ws.Close()
		return nil, nil, ctx.Err()
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case err != nil:
		return nil, response, cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot connect")
	case ws.Subprotocol() != m.subprotocol:
		ws.Close()
		return nil, nil, cardbroker.Errorf(cardbroker.Unsupported, "the other side does not speak %s", m.subprotocol)
	}
	return m.conn(ws), nil, nil
}

func (d Dial) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	if d.Net != nil {
		return d.Net(ctx)
	}
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	return dialer.DialContext(ctx, network, addr)
}

func (m *Maker) subprotocols() []string {
	if m.subprotocol == "" {
		return nil
	}
	return []string{m.subprotocol}
}

func (m *Maker) conn(ws *websocket.Conn) *Conn {
	ws.SetReadLimit(wire.MaxFrame)
	return &Conn{ws: ws, maker: m}
}

func (m *Maker) buffer() *buffer {
	if b, ok := m.buffers.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, firstBuffer)}
}

// recycle wipes a buffer and keeps it for others.
func (m *Maker) recycle(b *buffer) {
	clear(b.b)
	m.buffers.Put(b)
}
