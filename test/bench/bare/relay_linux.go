// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bare

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
)

const (
	// LengthSize is how many bytes of length stand before a message over TCP.
	LengthSize = 4
	// Buffer is room for a message.
	Buffer       = 4096
	writeTimeout = 10 * time.Second
)

// RelayTCP joins each connection to the address that it returns with one to the echo at address.
func RelayTCP(group *run.Group, address string) (string, error) {
	ctx := group.Context()
	return ListenTCP(group, func(front net.Conn) {
		back, err := Dial(ctx, address)
		if err != nil {
			return
		}
		group.Go("back", func(context.Context) error { PumpTCP(front, back); return nil })
		PumpTCP(back, front)
	})
}

// RelayWeb joins each WebSocket to the URL that it returns with one to the echo at url.
func RelayWeb(group *run.Group, url string) (string, error) {
	ctx := group.Context()
	return ListenWeb(group, func(front *websocket.Conn) {
		back, err := DialWeb(ctx, url)
		if err != nil {
			return
		}
		group.Go("back", func(context.Context) error { PumpWeb(front, back); return nil })
		PumpWeb(back, front)
	})
}

// Dial connects by plain TCP.
func Dial(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	return dialer.DialContext(ctx, "tcp", address)
}

// ListenTCP has serve, in a goroutine each, what connects to the address that it returns.
func ListenTCP(group *run.Group, serve func(net.Conn)) (string, error) {
	listener, err := httpserver.Listen(group.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	context.AfterFunc(group.Context(), func() { listener.Close() })
	group.Go("accept", func(context.Context) error {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return err
			}
			stop := context.AfterFunc(group.Context(), func() { conn.Close() })
			group.Go("connection", func(context.Context) error {
				defer stop()
				defer conn.Close()
				serve(conn)
				return nil
			})
		}
	})
	return listener.Addr().String(), nil
}

// PumpTCP copies messages until either side ends, and ends the other.
func PumpTCP(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, Buffer)
	for {
		message, err := ReadTCP(from, buf)
		if err != nil {
			return
		}
		if _, err := to.Write(message); err != nil {
			return
		}
	}
}

// ReadTCP reads one message, mostly by one read, and returns it with its length.
func ReadTCP(conn net.Conn, buf []byte) ([]byte, error) {
	n, err := io.ReadAtLeast(conn, buf, LengthSize)
	if err != nil {
		return nil, err
	}
	size := LengthSize + int(binary.BigEndian.Uint32(buf))
	if n < size {
		if _, err := io.ReadFull(conn, buf[n:size]); err != nil {
			return nil, err
		}
	}
	return buf[:size], nil
}

// ListenWeb has serve, in a goroutine each, the WebSockets that are opened at the URL that it returns. The handlers have
// returned by then.
func ListenWeb(group *run.Group, serve func(*websocket.Conn)) (string, error) {
	listener, err := httpserver.Listen(group.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	upgrader := websocket.Upgrader{ReadBufferSize: 512, WriteBufferSize: 1024}
	server := httpserver.NewHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		stop := context.AfterFunc(group.Context(), func() { ws.Close() })
		group.Go("WebSocket", func(context.Context) error {
			defer stop()
			defer ws.Close()
			serve(ws)
			return nil
		})
	}), slog.New(slog.DiscardHandler))
	group.Go("http", func(ctx context.Context) error { return httpserver.Serve(ctx, server, listener) })
	return "ws://" + listener.Addr().String(), nil
}

// DialWeb opens a WebSocket.
func DialWeb(ctx context.Context, url string) (*websocket.Conn, error) {
	dialer := websocket.Dialer{
		NetDialContext:  func(ctx context.Context, _, address string) (net.Conn, error) { return Dial(ctx, address) },
		ReadBufferSize:  512,
		WriteBufferSize: 1024,
	}
	ws, _, err := dialer.DialContext(ctx, url, nil)
	return ws, err
}

// PumpWeb copies messages until either side ends, and ends the other.
func PumpWeb(to, from *websocket.Conn) {
	defer to.Close()
	buf := make([]byte, Buffer)
	for {
		message, err := ReadWeb(from, buf)
		if err != nil {
			return
		}
		to.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := to.WriteMessage(websocket.BinaryMessage, message); err != nil {
			return
		}
	}
}

// ReadWeb reads one message into buf.
func ReadWeb(ws *websocket.Conn, buf []byte) ([]byte, error) {
	_, r, err := ws.NextReader()
	if err != nil {
		return nil, err
	}
	for n := 0; ; {
		got, err := r.Read(buf[n:])
		n += got
		if err == io.EOF {
			return buf[:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
}
