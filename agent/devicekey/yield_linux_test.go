// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package devicekey

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/internal/processors"
)

// nice returns the niceness of the calling thread.
func nice(t *testing.T) int {
	t.Helper()
	n, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Error(err)
	}
	return 20 - n // as the system call says it, getpriority(2)
}

// TestYield: who yields has less than others, and enough that the whole process need not wait for him when its world stops.
func TestYield(t *testing.T) {
	before, after := make(chan int, 1), make(chan int, 1)
	go func() {
		before <- nice(t)
		yield()
		after <- nice(t)
	}()
	if b, a := <-before, <-after; b < lower && (a <= b || a > 5) {
		t.Errorf("niceness %d, and %d before: want more than that, and 5 at most", a, b)
	}
}

// TestMakeYieldsNothingElse: the memory is given back, for which the world stops, by a thread that has not yielded.
func TestMakeYieldsNothingElse(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := nice(t)
	if err := New(nil).Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := nice(t); after != before {
		t.Errorf("who makes keys has niceness %d after that, and %d before", after, before)
	}
}

// TestMakeHasAProcessor: an agent that has one processor answers while it searches, for the search has one of its own.
func TestMakeHasAProcessor(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "1")
	keys := New(processors.New())
	most := make(chan int)
	go func() {
		seen := 0
		for {
			select {
			case <-keys.Ready():
				most <- seen
				return
			default:
				seen = max(seen, runtime.GOMAXPROCS(0))
				runtime.Gosched()
			}
		}
	}()
	if err := keys.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seen := <-most; seen != 2 {
		t.Errorf("%d processors while the keys were made, want 2", seen)
	}
	if after := runtime.GOMAXPROCS(0); after != 1 {
		t.Errorf("%d processors afterwards, want 1", after)
	}
}
