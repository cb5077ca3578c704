// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// overheard is a connection that keeps the buffers that it was given to send.
type overheard struct {
	net.Conn
	sent [][]byte
}

func (o *overheard) Write(p []byte) (int, error) {
	o.sent = append(o.sent, p)
	return o.Conn.Write(p)
}

// TestSentIsWiped: nothing of a frame is left in the buffer that it was sent from.
func TestSentIsWiped(t *testing.T) {
	maker := NewMaker(wire.Subprotocol)
	wires := make(chan *overheard, 1)
	left := make(chan bool, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := maker.Upgrade(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: 2}, []byte("\x00\x20\x00\x80\x0812345678"))
		found := false
		for _, buffer := range (<-wires).sent {
			found = found || bytes.Contains(buffer, []byte("12345678"))
		}
		left <- found
	}))
	server.Listener = listener{server.Listener, wires}
	server.Start()
	defer server.Close()
	conn, _, err := maker.Dial(t.Context(), Dial{URL: "ws" + server.URL[4:]})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, payload, err := conn.Receive(); err != nil || !bytes.HasSuffix(payload, []byte("12345678")) {
		t.Fatalf("Receive = %q, %v", payload, err)
	}
	if <-left {
		t.Error("the PIN is left in a buffer")
	}
}

// listener hands out its only connection.
type listener struct {
	net.Listener
	wires chan *overheard
}

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	o := &overheard{Conn: conn}
	l.wires <- o
	return o, nil
}
