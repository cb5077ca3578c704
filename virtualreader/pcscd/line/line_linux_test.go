// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package line

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testLimit is how long anything may take that these tests wait for.
const testLimit = 20 * time.Second

// pair returns a line and its client. places says whether the line lingers.
func pair(t *testing.T, places int32) (*Line, net.Conn) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	conn, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(conn, &Awake{places: places})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, client
}

// read is what a Read returned.
type read struct {
	text string
	err  error
}

// reading starts a Read.
func reading(l *Line) <-chan read {
	done := make(chan read, 1)
	go func() {
		b := make([]byte, 100)
		n, err := l.Read(b)
		done <- read{string(b[:n]), err}
	}()
	return done
}

// ends waits for a Read, and checks what it returned.
func ends(t *testing.T, done <-chan read, text string, err error) {
	t.Helper()
	select {
	case got := <-done:
		if got.text != text || !errors.Is(got.err, err) {
			t.Errorf("Read = %q, %v, want %q, %v", got.text, got.err, text, err)
		}
	case <-time.After(testLimit):
		t.Fatalf("Read does not end, want %q, %v", text, err)
	}
}

// ready says whether the line's epoll is.
func ready(l *Line) bool {
	n := 0
	l.raw.Control(func(epoll uintptr) { n, _ = unix.EpollWait(int(epoll), make([]unix.EpollEvent, 1), 0) })
	return n > 0
}

// until waits for a condition.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); runtime.Gosched() {
		if time.Since(start) > testLimit {
			t.Fatalf("it never comes to this: %s", what)
		}
	}
}

// TestLine reads, is interrupted and ends in the same way whether the goroutine lingers, is idle, or was idle before.
func TestLine(t *testing.T) {
	for name, places := range map[string][]int32{
		"lingering":   {1},
		"idle":        {0},
		"alternating": {0, 1, 1, 0, 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l, client := pair(t, places[0])
			idle := func() bool { return l.awake.lines.Load() == 0 }
			for n := range 10 * len(places) {
				l.awake.places = places[n%len(places)]
				done := reading(l)
				if n%3 > 0 {
					until(t, "the line is idle", idle)
				}
				if n%2 > 0 {
					l.Interrupt()
					ends(t, done, "", os.ErrDeadlineExceeded)
					ends(t, reading(l), "", os.ErrDeadlineExceeded) // until there is a limit
					l.Limit(time.Time{})
					done = reading(l)
				}
				client.Write([]byte("message"))
				ends(t, done, "message", nil)
				client.Write([]byte("next"))
				if ready(l) {
					t.Error("the epoll still waits, and so every message wakes two threads")
				}
				ends(t, reading(l), "next", nil)
			}
			l.Limit(time.Now().Add(time.Millisecond))
			ends(t, reading(l), "", os.ErrDeadlineExceeded)
			l.Limit(time.Time{})
			client.Write([]byte("last"))
			ends(t, reading(l), "last", nil)
			done := reading(l)
			client.Close()
			ends(t, done, "", io.EOF)
			if got := l.awake.lines.Load(); got != 1 {
				t.Errorf("%d lines are awake, want this one", got)
			}
		})
	}
}

// TestLingerInterrupted: an interruption does not wait for the end of the lingering.
func TestLingerInterrupted(t *testing.T) {
	l, _ := pair(t, 1)
	var took []time.Duration
	for range 51 {
		done := reading(l)
		<-time.After(time.Millisecond) // by now it mostly lingers
		start := time.Now()
		l.Interrupt()
		ends(t, done, "", os.ErrDeadlineExceeded)
		took = append(took, time.Since(start))
		l.Limit(time.Time{})
	}
	slices.Sort(took)
	if median := took[len(took)/2]; median > lingerLimit/2 {
		t.Errorf("interruptions take %v", median)
	}
}

// TestInterruptClosed: who interrupts late meets nobody else's file.
func TestInterruptClosed(t *testing.T) {
	l, _ := pair(t, 1)
	fd := l.wake
	l.Close()
	l.Interrupt()
	if _, err := fd.Write(make([]byte, 8)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write = %v, want that the eventfd is closed", err)
	}
	l.awake.lines.Add(1) // it is closed again
	l.fd = -1
}
