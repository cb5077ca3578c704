// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/relay"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

const (
	benchSize  = 300
	benchBlock = 50 // round trips of one path before the next has its turn: all see the same noise
)

// BenchmarkTunnel compares round trips of 300 bytes, client → relay → echo → relay → client, on four paths: the limit (TCP
// with a length before each message), gorilla without anything around it, our relay between the same ends, and our
// whole tunnel: TLS to the relay, a Unix socket to the agent, a holder with a card made of memory.
func BenchmarkTunnel(b *testing.B) {
	paths := []struct {
		name string
		open func(testing.TB) func()
		took []time.Duration
	}{
		{name: "tcp", open: openTCP},
		{name: "gorilla", open: openGorilla},
		{name: "relay", open: openRelay},
		{name: "tunnel", open: openTunnel},
	}
	trips := make([]func(), len(paths))
	for i, p := range paths {
		trips[i] = p.open(b)
	}
	for b.Loop() {
		for i := range paths {
			for range benchBlock {
				start := time.Now()
				trips[i]()
				paths[i].took = append(paths[i].took, time.Since(start))
			}
		}
	}
	for _, p := range paths {
		slices.Sort(p.took)
		b.ReportMetric(float64(p.took[len(p.took)/2])/1e3, p.name+"-p50-µs")
		b.ReportMetric(float64(p.took[len(p.took)*99/100])/1e3, p.name+"-p99-µs")
	}
}

// openTCP returns a round trip through a relay that copies messages with four bytes of length before them.
func openTCP(tb testing.TB) func() {
	echo := listen(tb, func(c net.Conn) {
		buf := make([]byte, 4096)
		for {
			m, err := readLength(c, buf)
			if err != nil {
				return
			}
			c.Write(m)
		}
	})
	door := listen(tb, func(c net.Conn) {
		agent, err := net.Dial("tcp", echo)
		if err != nil {
			return
		}
		go pumpTCP(c, agent)
		pumpTCP(agent, c)
	})
	c, err := net.Dial("tcp", door)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	out := binary.BigEndian.AppendUint32(nil, benchSize)
	out = append(out, make([]byte, benchSize)...)
	buf := make([]byte, 4096)
	return func() {
		c.Write(out)
		if _, err := readLength(c, buf); err != nil {
			tb.Fatal(err)
		}
	}
}

func pumpTCP(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 4096)
	for {
		m, err := readLength(from, buf)
		if err != nil {
			return
		}
		to.Write(m)
	}
}

// readLength reads one message, mostly by one read, and returns it with its length.
func readLength(c net.Conn, buf []byte) ([]byte, error) {
	n, err := io.ReadAtLeast(c, buf, 4)
	if err != nil {
		return nil, err
	}
	size := 4 + int(binary.BigEndian.Uint32(buf))
	if n < size {
		if _, err := io.ReadFull(c, buf[n:size]); err != nil {
			return nil, err
		}
	}
	return buf[:size], nil
}

func listen(tb testing.TB, serve func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	return l.Addr().String()
}

// openGorilla returns a round trip through gorilla and nothing else.
func openGorilla(tb testing.TB) func() {
	return gorillaEnds(tb, func(agent string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			u := websocket.Upgrader{ReadBufferSize: 512, WriteBufferSize: 1024}
			back, err := u.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			front := dialGorilla(tb, agent)
			go pumpGorilla(front, back)
			go pumpGorilla(back, front)
		}
	})
}

// openRelay returns a round trip through [relay.Splice] between the same ends.
func openRelay(tb testing.TB) func() {
	return gorillaEnds(tb, func(agent string) http.HandlerFunc {
		m := socket.NewMaker(wire.Subprotocol)
		return func(w http.ResponseWriter, r *http.Request) {
			a, err := m.Upgrade(w, r)
			if err != nil {
				return
			}
			b, _, err := m.Dial(context.Background(), socket.Dial{URL: agent})
			if err != nil {
				tb.Error(err)
				return
			}
			go relay.Splice(context.Background(), a, b)
		}
	})
}

// gorillaEnds returns a round trip from a client to an echo through the relay that is made with the echo's address.
func gorillaEnds(tb testing.TB, makeRelay func(agent string) http.HandlerFunc) func() {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := websocket.Upgrader{ReadBufferSize: 512, WriteBufferSize: 1024, Subprotocols: []string{wire.Subprotocol}}
		c, err := u.Upgrade(w, r, nil)
		if err == nil {
			go pumpGorilla(c, c)
		}
	}))
	tb.Cleanup(echo.Close)
	door := httptest.NewServer(makeRelay("ws" + echo.URL[4:]))
	tb.Cleanup(door.Close)
	c := dialGorilla(tb, "ws"+door.URL[4:])
	message, buf := make([]byte, benchSize), make([]byte, 4096)
	return func() {
		c.WriteMessage(websocket.BinaryMessage, message)
		if _, err := readGorilla(c, buf); err != nil {
			tb.Fatal(err)
		}
	}
}

func dialGorilla(tb testing.TB, address string) *websocket.Conn {
	d := websocket.Dialer{ReadBufferSize: 512, WriteBufferSize: 1024, Subprotocols: []string{wire.Subprotocol}}
	c, _, err := d.Dial(address, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

func pumpGorilla(to, from *websocket.Conn) {
	defer to.Close()
	buf := make([]byte, 4096)
	for {
		m, err := readGorilla(from, buf)
		if err != nil {
			return
		}
		to.SetWriteDeadline(time.Now().Add(10 * time.Second))
		to.WriteMessage(websocket.BinaryMessage, m)
	}
}

func readGorilla(c *websocket.Conn, buf []byte) ([]byte, error) {
	_, r, err := c.NextReader()
	if err != nil {
		return nil, err
	}
	n := 0
	for {
		m, err := r.Read(buf[n:])
		n += m
		if err == io.EOF {
			return buf[:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// openTunnel returns a command and its answer through everything that is ours.
func openTunnel(tb testing.TB) func() {
	tunnel := startTunnel(tb, cardtest.NewReader())
	command := append([]byte{0x00, 0xDA, 0x00, 0x00, 0x00, 0x01, 0x1D}, make([]byte, benchSize-24-7-wire.TimesSize)...)
	command[5], command[6] = byte((len(command)-7)>>8), byte(len(command)-7)
	return func() {
		if _, err := tunnel.Transmit(context.Background(), command); err != nil {
			tb.Fatal(err)
		}
	}
}

// startTunnel opens a tunnel to r: TLS 1.3 over TCP to the relay, WebSockets over a Unix socket from the agent to it.
func startTunnel(tb testing.TB, r *cardtest.Reader) *virtualreader.Tunnel {
	ctx := tb.Context()
	m := socket.NewMaker(wire.Subprotocol)
	legs := make(chan *socket.Conn, 1)
	local := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := m.Upgrade(w, r); err == nil {
			legs <- c
		}
	}))
	path := tb.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	local.Listener = l
	local.Start()
	tb.Cleanup(local.Close)

	leases := cardend.NewLeases()
	go leases.Run(ctx)
	holder := cardend.New(r, leases)
	door := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		agent, _, err := m.Dial(ctx, socket.Dial{URL: "ws://local/", Net: func(context.Context) (net.Conn, error) {
			return net.Dial("unix", path)
		}})
		if err != nil {
			tb.Error(err)
			return
		}
		go holder.Serve(ctx, agent, r.Tunnel("bench"))
		backEnd, err := m.Upgrade(w, req)
		if err != nil {
			return
		}
		go relay.Splice(ctx, backEnd, <-legs)
	}))
	door.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	door.StartTLS()
	tb.Cleanup(door.Close)

	roots := door.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	client, err := virtualreader.New(virtualreader.Config{
		Brokers: []string{"wss" + door.URL[5:]}, TLS: roots, Token: cardbroker.NewSecret([]byte("t")),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tunnel, err := client.Open(ctx, virtualreader.TicketReader, "", virtualreader.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { tunnel.Close() })
	return tunnel
}
