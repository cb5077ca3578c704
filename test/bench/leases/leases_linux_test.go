// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package leases

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

func TestCrowd(t *testing.T) {
	var trips atomic.Int64
	trip := func() error { trips.Add(1); return nil }
	took, err := Crowd{trip, trip, trip}.PerMessage(t.Context())
	if want := int64(3 * (crowdWarm + crowdTrips)); err != nil || took <= 0 || trips.Load() != want {
		t.Errorf("PerMessage = %v, %v after %d trips, want a time after %d", took, err, trips.Load(), want)
	}
	broken := errors.New("broken")
	if _, err := (Crowd{trip, func() error { return broken }}).PerMessage(t.Context()); !errors.Is(err, broken) {
		t.Errorf("with a trip that fails: %v, want %v", err, broken)
	}
}

func TestBlock(t *testing.T) {
	folder := t.TempDir()
	b, err := NewBlock(folder)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Write(); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(b.file.Name())
	if err != nil || len(text) != 2*blockSize || text[blockSize] != 2 {
		t.Errorf("the file has %d bytes, %v, want %d and two writes", len(text), err, 2*blockSize)
	}
	if err := b.Remove(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(folder); len(left) != 0 {
		t.Errorf("%d files are left", len(left))
	}
}

func TestInMemory(t *testing.T) {
	for folder, want := range map[string]bool{"/dev/shm": true, "/proc": false, "/no/such/folder": false} {
		if got := InMemory(folder); got != want {
			t.Errorf("InMemory(%q) = %v, want %v", folder, got, want)
		}
	}
}

// TestPipe asks a process for leases, of which it can have two.
func TestPipe(t *testing.T) {
	var out strings.Builder
	err := Pipe{In: strings.NewReader("1\n2\n3\n"), Out: &out}.answer("here", func(count int) error {
		if count > 2 {
			return errors.New("too many")
		}
		return nil
	})
	if want := "\"here\"\n\"\"\n\"\"\n\"too many\"\n"; err != nil || out.String() != want {
		t.Errorf("it says %q, %v, want %q", out.String(), err, want)
	}
}
