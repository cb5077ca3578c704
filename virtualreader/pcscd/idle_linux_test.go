// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// still is a source without readers.
type still struct{ Source }

func (still) Watch(ctx context.Context, emit func(Event)) error {
	emit(Event{})
	<-ctx.Done()
	return ctx.Err()
}

// TestIdleClients: they are all idle before long, and so cost no thread, and those who left are not counted.
func TestIdleClients(t *testing.T) {
	listener, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Source: still{}, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, listener) }()
	version := make([]byte, headerSize+12)
	put(version, 0, 12)
	put(version, 4, uint32(cmdVersion))
	put(version, 8, versionMajor)
	put(version, 12, minorLow)
	for n := range 100 {
		client, err := net.Dial("unix", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		client.Write(version)
		if _, err := io.ReadFull(client, make([]byte, 12)); err != nil {
			t.Fatal(err)
		}
		if n%2 > 0 {
			client.Close()
		}
	}
	for start := time.Now(); s.clients.Load() != 50 || s.awake.Lines() != 0; runtime.Gosched() {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%d clients are there and %d awake, want 50 and none", s.clients.Load(), s.awake.Lines())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve() = %v, want nil", err)
	}
	if n := s.awake.Lines(); n != 0 {
		t.Errorf("%d lines are awake at the end, want none", n)
	}
}
