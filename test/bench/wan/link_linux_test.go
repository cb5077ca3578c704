// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wan

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/bench/bare"
)

// echo returns the address of an echo.
func echo(t *testing.T, group *run.Group) string {
	t.Helper()
	address, err := bare.ListenTCP(group, func(conn net.Conn) { io.Copy(conn, conn) })
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// link returns a link to an echo.
func link(t *testing.T, rtt time.Duration) *Link {
	t.Helper()
	group := run.New(t.Context())
	t.Cleanup(func() {
		if err := group.Stop(); err != nil {
			t.Error(err)
		}
	})
	l, err := NewLink(group, echo(t, group), rtt)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := bare.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// trip sends a message to the echo, and returns how long it took to come back.
func trip(t *testing.T, conn net.Conn, message []byte) time.Duration {
	t.Helper()
	start := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(message)
		sent <- err
	}()
	back := make([]byte, len(message))
	if _, err := io.ReadFull(conn, back); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back, message) {
		t.Errorf("%d bytes came back as others", len(message))
	}
	return time.Since(start)
}

func TestLinkTakesItsTime(t *testing.T) {
	const rtt = 40 * time.Millisecond
	l := link(t, rtt)
	start := time.Now()
	conn := dial(t, l.Address)
	trip(t, conn, []byte("there and back"))
	if took := time.Since(start); took < 2*rtt {
		t.Errorf("TCP's handshake and a trip took %v, want %v or more", took, 2*rtt)
	}
	if took := trip(t, conn, []byte("there and back")); took < rtt {
		t.Errorf("a trip took %v, want %v or more", took, rtt)
	}
}

// TestLinkLimitsNothing sends more than is under way in a round trip: in order, and all at once.
func TestLinkLimitsNothing(t *testing.T) {
	const rtt = 40 * time.Millisecond
	message := make([]byte, 8<<20)
	rand.Read(message)
	took := trip(t, dial(t, link(t, rtt).Address), message)
	if most := rtt * time.Duration(len(message)/chunkSize) / 8; took > most { // one chunk after the other takes eight times that
		t.Errorf("%d bytes took %v, want less than %v", len(message), took, most)
	}
}

func TestCut(t *testing.T) {
	l := link(t, 0)
	before := dial(t, l.Address)
	trip(t, before, []byte("before"))
	l.Cut()
	before.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := before.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("a connection that was cut: Read = %v, want its end", err)
	}
	trip(t, dial(t, l.Address), []byte("after"))
}

// TestSpace has connections go through a network of their own, with a discipline that every kernel has.
func TestSpace(t *testing.T) {
	testenv.Root(t)
	testenv.Tool(t, "ip")
	testenv.Tool(t, "tc")
	group := run.New(t.Context())
	defer group.Stop()
	s, err := newSpace(group, echo(t, group), "pfifo", "limit", "1000")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	trip(t, conn, []byte("through the other network"))
	if outside, err := bare.Dial(t.Context(), conn.RemoteAddr().String()); err == nil {
		outside.Close()
		t.Errorf("%v can be reached from our own network", conn.RemoteAddr())
	}
	if _, err := newSpace(group, echo(t, group), "no-such-discipline"); err == nil {
		t.Error("newSpace takes a discipline that the kernel does not have")
	}
}

// TestSpaceKeepsThreads finds threads that end with their networks: that once killed the service of another row, which was to die with
// the thread that had started it.
func TestSpaceKeepsThreads(t *testing.T) {
	testenv.Root(t)
	group := run.New(t.Context())
	target := echo(t, group)
	before := threads(t)
	for range 20 {
		if _, err := newSpace(group, target, "no-such-discipline"); err == nil {
			t.Fatal("newSpace takes a discipline that the kernel does not have")
		}
		if _, err := newSpace(group, target, "pfifo"); err != nil {
			t.Fatal(err)
		}
		before = append(before, threads(t)...)
	}
	group.Stop()
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range before {
		if network, err := os.Readlink(thread + "/ns/net"); err != nil || network != home {
			t.Errorf("%s is in %q, %v, want %q", thread, network, err, home)
		}
	}
}

func threads(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		t.Fatal(err)
	}
	return all
}
