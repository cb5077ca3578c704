// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package socket_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// pair returns both ends of a connection over TLS on loopback.
func pair(t testing.TB, m *socket.Maker) (server, client *socket.Conn) {
	t.Helper()
	address, conf := serve(t, m)
	client, _, err := m.Dial(t.Context(), socket.Dial{URL: address.url, TLS: conf})
	if err != nil {
		t.Fatal(err)
	}
	server = <-address.conns
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}

type door struct {
	url   string
	conns chan *socket.Conn
}

// serve runs a server that upgrades what it may.
func serve(t testing.TB, m *socket.Maker) (door, *tls.Config) {
	d := door{conns: make(chan *socket.Conn, 8)}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := m.Check(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if c, err := m.Upgrade(w, r); err == nil {
			d.conns <- c
		}
	}))
	t.Cleanup(s.Close)
	d.url = "wss" + s.URL[len("https"):]
	return d, s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
}

// rawClient returns a client's end in gorilla's own hands, to break rules with.
func rawClient(t *testing.T) (*socket.Conn, *websocket.Conn) {
	d, conf := serve(t, socket.NewMaker(wire.Subprotocol))
	dialer := websocket.Dialer{TLSClientConfig: conf, Subprotocols: []string{wire.Subprotocol}}
	raw, _, err := dialer.Dial(d.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := <-d.conns
	t.Cleanup(func() { raw.Close(); server.Close() })
	return server, raw
}

func TestMessagesOfAllSizes(t *testing.T) {
	server, client := pair(t, socket.NewMaker(wire.Subprotocol))
	echoed := make(chan error, 1)
	go func() {
		for {
			m, err := server.Next()
			if err == nil {
				err = server.Write(m)
			}
			if err != nil {
				echoed <- err
				return
			}
		}
	}()
	for _, size := range []int{0, 1, 125, 126, 511, 512, 513, 1023, 16 << 10, 16<<10 + 1, 65536, wire.MaxFrame} {
		want := bytes.Repeat([]byte{byte(size)}, size)
		if err := client.Write(want); err != nil {
			t.Fatal(err)
		}
		if got, err := client.Next(); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("a message of %d bytes came back as %d, %v", size, len(got), err)
		}
	}
	client.Shutdown(nil)
	if err := <-echoed; err != io.EOF {
		t.Errorf("Next after a regular end = %v, want %v", err, io.EOF)
	}
}

func TestFrames(t *testing.T) {
	server, client := pair(t, socket.NewMaker(wire.Subprotocol))
	want := wire.Header{Type: wire.TypeAPDU, Seq: 3, Ack: 2}
	if err := client.Send(want, []byte("abc")); err != nil {
		t.Fatal(err)
	}
	if h, p, err := server.Receive(); err != nil || h != want || string(p) != "abc" {
		t.Errorf("Receive = %+v, %q, %v, want %+v", h, p, err, want)
	}
	client.Write([]byte("not a frame"))
	if _, _, err := server.Receive(); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("Receive of what is no frame = %v, want %s", err, cardbroker.Invalid)
	}
}

// TestManySend holds that Send may be called by several goroutines at once.
func TestManySend(t *testing.T) {
	server, client := pair(t, socket.NewMaker(wire.Subprotocol))
	const senders, each = 4, 50
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range each {
				client.Send(wire.Header{Type: wire.TypePing}, make([]byte, 100))
			}
		})
	}
	for i := range senders * each {
		if _, p, err := server.Receive(); err != nil || len(p) != 100 {
			t.Fatalf("frame %d: %d bytes, %v", i, len(p), err)
		}
	}
	wg.Wait()
}

// TestCloseCodes sends each reason through a close message.
func TestCloseCodes(t *testing.T) {
	tests := []struct {
		send error
		code int
		want cardbroker.Reason // "": io.EOF
	}{
		{nil, 1000, ""},
		{io.EOF, 1000, ""},
		{context.Canceled, 1001, cardbroker.Canceled},
		{cardbroker.Errorf(cardbroker.Invalid, "wrong"), 1002, cardbroker.Invalid},
		{cardbroker.Errorf(cardbroker.Forbidden, "revoked"), 1008, cardbroker.Forbidden},
		{cardbroker.Errorf(cardbroker.ReaderBusy, "busy"), 1008, cardbroker.Forbidden},
		{cardbroker.Errorf(cardbroker.TooLarge, "big"), 1009, cardbroker.TooLarge},
		{errors.New("a secret path"), 1011, cardbroker.Internal},
		{cardbroker.Errorf(cardbroker.Unavailable, "gone"), 1012, cardbroker.Unavailable},
		{cardbroker.Errorf(cardbroker.Overloaded, "full"), 1013, cardbroker.Overloaded},
		{cardbroker.Errorf(cardbroker.Forbidden, "%s", strings.Repeat("ü", 100)), 1008, cardbroker.Forbidden},
	}
	for _, test := range tests {
		server, raw := rawClient(t)
		server.Shutdown(test.send)
		_, _, err := raw.NextReader()
		e, ok := errors.AsType[*websocket.CloseError](err)
		if !ok || e.Code != test.code || strings.Contains(e.Text, "secret") {
			t.Errorf("Shutdown(%v) sent %v, want code %d", test.send, err, test.code)
		}

		server, client := pair(t, socket.NewMaker(wire.Subprotocol))
		server.Shutdown(test.send)
		_, err = client.Next()
		if test.want == "" && err != io.EOF || test.want != "" && cardbroker.ReasonOf(err) != test.want {
			t.Errorf("Shutdown(%v): the other side's Next = %v, want %s", test.send, err, test.want)
		}
		if _, err := server.Next(); err != io.EOF && test.want == "" {
			t.Errorf("Shutdown(%v): Next = %v, want the other side's answer", test.send, err)
		}
	}
}

func TestNextRefuses(t *testing.T) {
	tests := []struct {
		name string
		send func(raw *websocket.Conn)
		want cardbroker.Reason
	}{
		{"a text message", func(raw *websocket.Conn) { raw.WriteMessage(websocket.TextMessage, []byte("hi")) }, cardbroker.Invalid},
		{"a message over the limit", func(raw *websocket.Conn) {
			raw.WriteMessage(websocket.BinaryMessage, make([]byte, wire.MaxFrame+1))
		}, cardbroker.TooLarge},
		{"bytes that are no message", func(raw *websocket.Conn) { raw.NetConn().Write([]byte{0xFF, 0xFF, 0, 0}) }, cardbroker.Unavailable},
		{"a cut connection", func(raw *websocket.Conn) { raw.NetConn().Close() }, cardbroker.Unavailable},
		{"a cut message", func(raw *websocket.Conn) {
			raw.NetConn().Write([]byte{0x82, 0xFE, 1, 0, 1, 2, 3, 4, 5})
			raw.NetConn().Close()
		}, cardbroker.Unavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server, raw := rawClient(t)
			test.send(raw)
			if m, err := server.Next(); cardbroker.ReasonOf(err) != test.want {
				t.Errorf("Next = %d bytes, %v, want %s", len(m), err, test.want)
			}
		})
	}
}

// TestFragments holds that a message may come in pieces, empty ones too.
func TestFragments(t *testing.T) {
	server, raw := rawClient(t)
	for _, piece := range []string{
		"\x02\x82\x00\x00\x00\x00ab", "\x00\x80\x00\x00\x00\x00", "\x80\x81\x00\x00\x00\x00c",
	} {
		raw.NetConn().Write([]byte(piece))
	}
	if m, err := server.Next(); err != nil || string(m) != "abc" {
		t.Errorf("Next = %q, %v, want abc", m, err)
	}
}

func TestSilenceIsLimited(t *testing.T) {
	server, _ := pair(t, socket.NewMaker(wire.Subprotocol))
	server.LimitSilence(20 * time.Millisecond)
	if _, err := server.Next(); cardbroker.ReasonOf(err) != cardbroker.Timeout {
		t.Errorf("Next = %v, want %s", err, cardbroker.Timeout)
	}
}

// TestCloseEndsARead holds that Close does not wait for the other side, and that Shutdown waits a second at most.
func TestCloseEndsARead(t *testing.T) {
	server, client := pair(t, socket.NewMaker(wire.Subprotocol))
	ended := make(chan error)
	go func() { _, err := server.Next(); ended <- err }()
	server.Close()
	if err := <-ended; err == nil {
		t.Error("Next = nil after Close")
	}
	if _, err := client.Next(); err != io.EOF {
		t.Errorf("the other side's Next = %v, want %v", err, io.EOF)
	}
	server, _ = pair(t, socket.NewMaker(wire.Subprotocol)) // whose other side reads nothing
	server.Shutdown(nil)
	start := time.Now()
	if _, err := server.Next(); cardbroker.ReasonOf(err) != cardbroker.Timeout || time.Since(start) > 5*time.Second {
		t.Errorf("Next after Shutdown = %v after %v, want %s after a second", err, time.Since(start), cardbroker.Timeout)
	}
}

func TestCheck(t *testing.T) {
	ask := func(pairs ...string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for i := 0; i < len(pairs); i += 2 {
			r.Header.Set(pairs[i], pairs[i+1])
		}
		return r
	}
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13",
		"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	posted := ask(upgrade...)
	posted.Method = http.MethodPost
	tests := []struct {
		name  string
		maker *socket.Maker
		r     *http.Request
		want  cardbroker.Reason
	}{
		{"good", socket.NewMaker("a.v1"), ask(append(upgrade, "Sec-WebSocket-Protocol", "x, a.v1")...), ""},
		{"no WebSocket", socket.NewMaker("a.v1"), ask("Sec-WebSocket-Protocol", "a.v1"), cardbroker.Invalid},
		{"no subprotocol", socket.NewMaker("a.v1"), ask(upgrade...), cardbroker.Invalid},
		{"another subprotocol", socket.NewMaker("a.v1"), ask(append(upgrade, "Sec-WebSocket-Protocol", "a.v2")...), cardbroker.Invalid},
		{"no version", socket.NewJSONMaker(""), ask(append(upgrade, "Sec-WebSocket-Version", "")...), cardbroker.Invalid},
		{"another version", socket.NewJSONMaker(""), ask(append(upgrade, "Sec-WebSocket-Version", "12")...), cardbroker.Invalid},
		{"no key", socket.NewJSONMaker(""), ask(append(upgrade, "Sec-WebSocket-Key", "")...), cardbroker.Invalid},
		{"a short key", socket.NewJSONMaker(""), ask(append(upgrade, "Sec-WebSocket-Key", "c2hvcnQ=")...), cardbroker.Invalid},
		{"another method", socket.NewJSONMaker(""), posted, cardbroker.Invalid},
		{"a web page", socket.NewJSONMaker(""), ask(append(upgrade, "Origin", "https://example.com")...), cardbroker.OriginDenied},
		{"an empty origin", socket.NewJSONMaker(""), ask(append(upgrade, "Origin", "")...), cardbroker.OriginDenied},
		{"none needed", socket.NewJSONMaker(""), ask(upgrade...), ""},
	}
	for _, test := range tests {
		if err := test.maker.Check(test.r); cardbroker.ReasonOf(err) != test.want {
			t.Errorf("%s: Check = %v, want %q", test.name, err, test.want)
		}
	}
}

func TestDialTellsWhatTheServerSaid(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no ticket", http.StatusUnauthorized)
	}))
	defer s.Close()
	_, response, err := socket.NewMaker("a").Dial(t.Context(), socket.Dial{URL: "ws" + s.URL[4:]})
	if response == nil || response.StatusCode != http.StatusUnauthorized || cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Fatalf("Dial = %v, %v, want the response", response, err)
	}
	if body, _ := io.ReadAll(response.Body); string(body) != "no ticket\n" {
		t.Errorf("the response's body is %q", body)
	}
}

// TestDialHeedsItsContext covers a server that accepts and says nothing.
func TestDialHeedsItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			c.Read(make([]byte, 1))
			cancel()
			io.Copy(io.Discard, c)
		}
	}()
	if _, _, err := socket.NewMaker("a").Dial(ctx, socket.Dial{URL: "ws://" + l.Addr().String()}); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial = %v, want %v", err, context.Canceled)
	}
}

// TestRoundTripAllocations holds what a frame costs: gorilla's reader on each side, and its mask at the client.
func TestRoundTripAllocations(t *testing.T) {
	server, client := pair(t, socket.NewMaker(wire.Subprotocol))
	payload := make([]byte, 300)
	trip := func() {
		client.Send(wire.Header{Type: wire.TypeAPDU, Seq: 1}, payload)
		h, p, err := server.Receive()
		if err == nil {
			err = server.Send(h, p)
		}
		if err == nil {
			_, _, err = client.Receive()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	trip()
	if n := testing.AllocsPerRun(200, trip); n > 12 {
		t.Errorf("a round trip allocates %v times, want 12 or fewer", n)
	}
}
