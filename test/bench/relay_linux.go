// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

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

// The limits of a tunnel: client → relay → echo → relay → client, each relay in a process of its own. One is TCP with four
// bytes of length before each message, the other gorilla in its best use and nothing around it.

const (
	messageSize  = 300
	lengthSize   = 4
	rawBuffer    = 4096
	writeTimeout = 10 * time.Second
)

// relayTCP is the helper that joins each connection with one to the echo at address.
func relayTCP(ctx context.Context, address string) error {
	group := run.New(ctx)
	defer group.Stop()
	where, err := listenTCP(group, func(front net.Conn) {
		back, err := dial(ctx, address)
		if err != nil {
			return
		}
		group.Go("back", func(context.Context) error { pumpTCP(front, back); return nil })
		pumpTCP(back, front)
	})
	if err != nil {
		return err
	}
	return sayUntilEnd(where)
}

// relayWeb is the helper that joins each WebSocket with one to the echo at url.
func relayWeb(ctx context.Context, url string) error {
	group := run.New(ctx)
	defer group.Stop()
	where, err := listenWeb(group, func(front *websocket.Conn) {
		back, err := dialWeb(ctx, url)
		if err != nil {
			return
		}
		group.Go("back", func(context.Context) error { pumpWeb(front, back); return nil })
		pumpWeb(back, front)
	})
	if err != nil {
		return err
	}
	return sayUntilEnd(where)
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	return dialer.DialContext(ctx, "tcp", address)
}

// listenTCP has serve, in a goroutine each, what connects to the address that it returns.
func listenTCP(group *run.Group, serve func(net.Conn)) (string, error) {
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

// pumpTCP copies messages until either side ends, and ends the other.
func pumpTCP(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, rawBuffer)
	for {
		message, err := readTCP(from, buf)
		if err != nil {
			return
		}
		if _, err := to.Write(message); err != nil {
			return
		}
	}
}

// readTCP reads one message, mostly by one read, and returns it with its length.
func readTCP(conn net.Conn, buf []byte) ([]byte, error) {
	n, err := io.ReadAtLeast(conn, buf, lengthSize)
	if err != nil {
		return nil, err
	}
	size := lengthSize + int(binary.BigEndian.Uint32(buf))
	if n < size {
		if _, err := io.ReadFull(conn, buf[n:size]); err != nil {
			return nil, err
		}
	}
	return buf[:size], nil
}

// listenWeb has serve, in a goroutine each, the WebSockets that are opened at the URL that it returns. The handlers have
// returned by then.
func listenWeb(group *run.Group, serve func(*websocket.Conn)) (string, error) {
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

func dialWeb(ctx context.Context, url string) (*websocket.Conn, error) {
	dialer := websocket.Dialer{
		NetDialContext:  func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, address) },
		ReadBufferSize:  512,
		WriteBufferSize: 1024,
	}
	ws, _, err := dialer.DialContext(ctx, url, nil)
	return ws, err
}

// pumpWeb copies messages until either side ends, and ends the other.
func pumpWeb(to, from *websocket.Conn) {
	defer to.Close()
	buf := make([]byte, rawBuffer)
	for {
		message, err := readWeb(from, buf)
		if err != nil {
			return
		}
		to.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := to.WriteMessage(websocket.BinaryMessage, message); err != nil {
			return
		}
	}
}

// readWeb reads one message into buf.
func readWeb(ws *websocket.Conn, buf []byte) ([]byte, error) {
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
