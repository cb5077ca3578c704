// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package quiet_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/internal/quiet"
)

// pairs are two ends of a connection, the first of them quiet.
func pairs(t *testing.T) map[string][2]net.Conn {
	t.Helper()
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	l, err := c.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "stream")
		if ends[i], err = net.FileConn(file); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	all := map[string][2]net.Conn{"tcp": {quiet.New(server), client}, "unix": {quiet.New(ends[0]), ends[1]}}
	t.Cleanup(func() {
		for _, pair := range all {
			pair[0].Close()
			pair[1].Close()
		}
	})
	return all
}

// each runs a test for each kind of socket.
func each(t *testing.T, do func(t *testing.T, ours, theirs net.Conn)) {
	t.Helper()
	for name, pair := range pairs(t) {
		t.Run(name, func(t *testing.T) { do(t, pair[0], pair[1]) })
	}
}

// TestEcho sends more than any buffer holds there and back.
func TestEcho(t *testing.T) {
	each(t, func(t *testing.T, ours, theirs net.Conn) {
		sent := make([]byte, 8<<20)
		rand.Read(sent)
		var working sync.WaitGroup
		working.Go(func() { io.Copy(theirs, theirs) })
		working.Go(func() {
			if n, err := ours.Write(sent); n != len(sent) || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
		})
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(ours, got); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("what came back is not what was sent: %v", err)
		}
		ours.Close()
		working.Wait()
	})
}

// TestDeadlines: a Read or Write that waits ends at a deadline that is set meanwhile, as a timeout, and another goes on where it was.
func TestDeadlines(t *testing.T) {
	each(t, func(t *testing.T, ours, theirs net.Conn) {
		var b [1]byte
		var working sync.WaitGroup
		working.Go(func() { ours.SetReadDeadline(time.Unix(1, 0)) })
		_, err := ours.Read(b[:])
		if failed, ok := errors.AsType[net.Error](err); !errors.Is(err, os.ErrDeadlineExceeded) || !ok || !failed.Timeout() {
			t.Errorf("Read = %v, want a timeout", err)
		}
		working.Wait()
		ours.SetDeadline(time.Time{})
		theirs.Write([]byte("x"))
		if n, err := ours.Read(b[:]); n != 1 || err != nil || b[0] != 'x' {
			t.Errorf("Read after the deadline = %d, %v", n, err)
		}

		sent := make([]byte, 8<<20)
		rand.Read(sent)
		got := make([]byte, len(sent))
		working.Go(func() { // the time is up when some of it has come
			io.ReadFull(theirs, got[:1])
			ours.SetWriteDeadline(time.Unix(1, 0))
		})
		n, err := ours.Write(sent)
		working.Wait()
		if n == 0 || n == len(sent) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Write to who does not read = %d, %v", n, err)
		}
		ours.SetWriteDeadline(time.Time{})
		working.Go(func() { ours.Write(sent[n:]) })
		if _, err := io.ReadFull(theirs, got[1:]); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("what arrived is not what was sent in two parts: %v", err)
		}
		working.Wait()
	})
}

// TestEnds: what a connection ends with is what package net says.
func TestEnds(t *testing.T) {
	each(t, func(t *testing.T, ours, theirs net.Conn) {
		var b [1]byte
		theirs.Close()
		if n, err := ours.Read(b[:]); n != 0 || err != io.EOF {
			t.Errorf("Read after the end = %d, %v, want EOF", n, err)
		}
		var err error
		for range 10 { // TCP is told of it by the first
			if _, err = ours.Write(b[:]); err != nil {
				break
			}
			ours.Read(b[:])
		}
		if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Write after the end = %v", err)
		}
		ours.Close()
		if _, err := ours.Read(b[:]); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read after Close = %v", err)
		}
		if _, err := ours.Write(b[:]); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after Close = %v", err)
		}
	})
}

// TestCloseEndsRead closes under who waits.
func TestCloseEndsRead(t *testing.T) {
	each(t, func(t *testing.T, ours, _ net.Conn) {
		var working sync.WaitGroup
		working.Go(func() { ours.Close() })
		if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read = %v, want that it is closed", err)
		}
		working.Wait()
	})
}

// TestTwoAtOnce has two writers: each Write is whole, and no buffer is another's.
func TestTwoAtOnce(t *testing.T) {
	each(t, func(t *testing.T, ours, theirs net.Conn) {
		const size, times = 100_000, 50
		var working sync.WaitGroup
		for _, letter := range []string{"a", "b"} {
			working.Go(func() {
				text := bytes.Repeat([]byte(letter), size)
				for range times {
					ours.Write(text)
				}
			})
		}
		got := make([]byte, size)
		for range 2 * times {
			if _, err := io.ReadFull(theirs, got); err != nil || bytes.Count(got, got[:1]) != size {
				t.Fatalf("a Write was not whole: %v", err)
			}
		}
		working.Wait()
	})
}

func TestNoAllocations(t *testing.T) {
	each(t, func(t *testing.T, ours, theirs net.Conn) {
		b := make([]byte, 100)
		if n := testing.AllocsPerRun(100, func() {
			theirs.Write(b)
			ours.Read(b)
			ours.Write(b)
			theirs.Read(b)
		}); n > 0 {
			t.Errorf("a message there and back allocates %v times", n)
		}
	})
}

// TestNoSocket: what is none stays as it is.
func TestNoSocket(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	if quiet.New(a) != a {
		t.Error("a pipe of memory is something else")
	}
	a.Close()
}
