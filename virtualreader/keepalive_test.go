// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// inBubble opens a tunnel in a bubble of its own time; hold has the holder's end, from its first frame on.
func inBubble(t *testing.T, hold func(*socket.Conn), f func(*testing.T, *Tunnel)) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if conn, err := tunnels.Upgrade(w, r); err == nil {
				go func() { defer close(ended); hold(conn); conn.Close() }()
			}
		})}
		listener := make(pipes)
		go server.Serve(listener)
		conn, _, err := tunnels.Dial(t.Context(), socket.Dial{URL: "ws://holder/", Net: listener.dial})
		if err != nil {
			t.Fatal(err)
		}
		tunnel, err := newTunnel(t.Context(), conn, wire.Hello{Share: cardbroker.ShareShared}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		f(t, tunnel)
		tunnel.Close()
		<-ended
		server.Close()
	})
}

// welcome answers Hello.
func welcome(c *socket.Conn) {
	h, _, _ := c.Receive()
	c.Send(wire.Header{Type: wire.TypeWelcome, Seq: h.Seq}, wire.Welcome{Reader: "r"}.Append(nil))
}

// TestIdleTunnelIsKeptAlive has a holder that takes a silent back end for gone.
func TestIdleTunnelIsKeptAlive(t *testing.T) {
	hold := func(c *socket.Conn) {
		c.LimitSilence(wire.MaxSilence)
		welcome(c)
		for {
			h, p, err := c.Receive()
			if err != nil {
				return
			}
			c.Send(wire.Header{Type: h.Type + 1, Seq: h.Seq}, p) // Pong follows Ping
		}
	}
	inBubble(t, hold, func(t *testing.T, tunnel *Tunnel) {
		time.Sleep(time.Hour)
		if err := tunnel.Err(); err != nil {
			t.Errorf("after an hour: %v", err)
		}
	})
}

// TestSilentHolder covers a holder that is gone without a word, and one that is silent because its card works.
func TestSilentHolder(t *testing.T) {
	hold := func(c *socket.Conn) {
		welcome(c)
		for {
			if _, _, err := c.Receive(); err != nil {
				return
			}
		}
	}
	inBubble(t, hold, func(t *testing.T, tunnel *Tunnel) {
		start := time.Now()
		for range tunnel.Events() {
		}
		if err := tunnel.Err(); cardbroker.ReasonOf(err) != cardbroker.Timeout || time.Since(start).Round(time.Second) != 4*wire.PingInterval {
			t.Errorf("the tunnel ended after %v with %v, want %v and %s", time.Since(start), err, 4*wire.PingInterval, cardbroker.Timeout)
		}
	})
	inBubble(t, hold, func(t *testing.T, tunnel *Tunnel) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		start := time.Now()
		if _, err := tunnel.Transmit(ctx, []byte{0, 0xA4, 4, 0}); cardbroker.ReasonOf(err) != cardbroker.Indeterminate || time.Since(start) != 10*time.Minute {
			t.Errorf("Transmit = %v after %v, want %s after 10 minutes", err, time.Since(start), cardbroker.Indeterminate)
		}
	})
}
