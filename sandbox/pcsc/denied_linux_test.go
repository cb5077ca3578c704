// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc_test

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/pcsc"
)

// falseService listens where the service does and lets serve speak with each client. It returns how many came, and what
// ends it.
func falseService(t *testing.T, serve func(net.Conn)) (clients *atomic.Int32, end func()) {
	t.Helper()
	needCgo(t)
	socket := os.Getenv(socketVariable)
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	clients = new(atomic.Int32)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			clients.Add(1)
			serve(conn)
			conn.Close()
		}
	}()
	end = func() {
		listener.Close()
		<-ended
	}
	t.Cleanup(func() {
		end()
		os.RemoveAll(filepath.Dir(filepath.Dir(filepath.Dir(socket))))
	})
	return clients, end
}

// answerOne answers a request of 12 bytes with itself: the version, or a context of number 0.
func answerOne(conn net.Conn) {
	var message [20]byte
	if _, err := io.ReadFull(conn, message[:]); err == nil {
		conn.Write(message[8:])
	}
}

// resetLine has the client's next request unread when the line is closed, which the client sees as a reset.
func resetLine(conn net.Conn) {
	binary.Read(conn, binary.NativeEndian, new(uint32))
}

// TestResetLine: a service that ended with requests unread was once taken for one that denies access, which ended the watch
// for good: pcsc-lite says the same of both.
func TestResetLine(t *testing.T) {
	clients, end := falseService(t, func(conn net.Conn) {
		answerOne(conn) // the version
		answerOne(conn) // the context
		resetLine(conn)
	})
	readers := pcsc.New(slog.New(slog.DiscardHandler))
	_, err := readers.Connect("reader", cardbroker.ShareShared)
	if cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Connect = %v, want Unavailable", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- readers.Watch(context.Background(), func(sandbox.Event) {}) }()
	for deadline := time.Now().Add(10 * time.Second); clients.Load() < 5; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d clients came, want that the watcher tries again", clients.Load())
		}
	}
	end()
	select {
	case err := <-ended:
		if cardbroker.ReasonOf(err) != cardbroker.Unavailable {
			t.Errorf("Watch() = %v, want Unavailable", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Watch() goes on without a service")
	}
}

// TestDenied: a service that lets nobody in is told from one that is ending: it goes on doing so.
func TestDenied(t *testing.T) {
	falseService(t, resetLine)
	readers := pcsc.New(slog.New(slog.DiscardHandler))
	start := time.Now()
	_, err := readers.Connect("reader", cardbroker.ShareShared)
	if cardbroker.ReasonOf(err) != cardbroker.Forbidden {
		t.Errorf("Connect = %v, want Forbidden", err)
	}
	err = readers.Watch(t.Context(), func(sandbox.Event) {})
	if cardbroker.ReasonOf(err) != cardbroker.Forbidden {
		t.Errorf("Watch() = %v, want Forbidden", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v, want about 2 s", took)
	}
}
