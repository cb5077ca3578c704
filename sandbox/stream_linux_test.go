// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// streams are the sandbox's end of a stream, and the agent's.
func streams(t *testing.T) (ours *stream, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "agent")
	t.Cleanup(func() { theirs.Close() })
	if ours, err = newStream(fds[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	return ours, theirs
}

// TestStreamDeadline: a Read ends at its deadline, and the next one goes on, also without a deadline.
func TestStreamDeadline(t *testing.T) {
	ours, theirs := streams(t)
	b := make([]byte, 10)
	const wait = 30 * time.Millisecond
	start := time.Now()
	ours.SetReadDeadline(start.Add(wait))
	if n, err := ours.Read(b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) < wait {
		t.Errorf("Read = %d, %v after %v, want a timeout after %v", n, err, time.Since(start), wait)
	}
	theirs.Write([]byte("xy"))
	if n, err := ours.Read(b[:1]); n != 1 || err != nil {
		t.Errorf("Read of what is there, after the deadline = %d, %v", n, err)
	}
	ours.SetReadDeadline(time.Time{})
	if n, err := ours.Read(b); n != 1 || err != nil || b[0] != 'y' {
		t.Errorf("Read without a deadline = %d, %v", n, err)
	}
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { theirs.Write([]byte("z")) })
	ours.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := ours.Read(b); n != 1 || err != nil || b[0] != 'z' {
		t.Errorf("Read before its deadline = %d, %v", n, err)
	}
}

// TestStreamEnds: the agent's end is that of the stream, and so is ours, also for who waits.
func TestStreamEnds(t *testing.T) {
	ours, theirs := streams(t)
	theirs.Close()
	for _, deadline := range []time.Time{{}, time.Now().Add(time.Minute)} {
		ours.SetReadDeadline(deadline)
		if n, err := ours.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("Read after the agent's end = %d, %v", n, err)
		}
	}
	for _, deadline := range []time.Time{{}, time.Now().Add(time.Minute)} {
		ours, _ := streams(t)
		ours.SetReadDeadline(deadline)
		var working sync.WaitGroup
		working.Go(func() { ours.Close() })
		if n, err := ours.Read(make([]byte, 1)); n != 0 || regular(err) != nil {
			t.Errorf("Read of who waits while the stream is closed = %d, %v, want a regular end", n, err)
		}
		working.Wait()
		if _, err := ours.Read(make([]byte, 1)); regular(err) != nil {
			t.Errorf("Read after Close = %v, want a regular end", err)
		}
		if _, err := ours.Write(make([]byte, 1)); regular(err) != nil {
			t.Errorf("Write after Close = %v, want a regular end", err)
		}
	}
}

// TestStreamCloseEndsWrite: an agent that does not read holds nobody.
func TestStreamCloseEndsWrite(t *testing.T) {
	ours, theirs := streams(t)
	var working sync.WaitGroup
	working.Go(func() {
		theirs.Read(make([]byte, 1)) // it has begun
		ours.Close()
	})
	if _, err := ours.Write(make([]byte, 8<<20)); err == nil {
		t.Error("a Write that nobody reads has succeeded")
	}
	working.Wait()
}
