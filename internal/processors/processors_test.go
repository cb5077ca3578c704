// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package processors_test

import (
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker/internal/processors"
)

// variable is how a Go program is told on how many processors it runs Go.
const variable = "GOMAXPROCS"

// want checks how many processors there are.
func want(t *testing.T, n int, when string) {
	t.Helper()
	if is := runtime.GOMAXPROCS(0); is != n {
		t.Errorf("%s: %d processors, want %d", when, is, n)
	}
}

// defaults is how many the system lets us have. It puts back what there was when the test ends.
func defaults(t *testing.T) int {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	runtime.SetDefaultGOMAXPROCS()
	return runtime.GOMAXPROCS(0)
}

// TestFew: a process has one processor, two while somebody wants two, and all while somebody wants all.
func TestFew(t *testing.T) {
	all := defaults(t)
	t.Setenv(variable, "1")
	few := processors.New()
	want(t, 1, "at rest")
	if _, there := os.LookupEnv(variable); there {
		t.Error("the programs that this one starts would have one processor, too")
	}
	first, second := few.Two(), few.Two()
	want(t, 2, "for two who want two")
	led := few.All()
	want(t, all, "for one who wants all")
	first()
	want(t, all, "for one who wants all, and one who wants two")
	led()
	want(t, 2, "for one who wants two")
	second()
	want(t, 1, "at rest again")

	var crowd sync.WaitGroup
	for range 10 {
		crowd.Go(func() {
			for range 20 {
				few.Two()()
				few.All()()
			}
		})
	}
	crowd.Wait()
	want(t, 1, "after many at once")
}

// TestEnvironment: an administrator may have named another number, which is the least then, and what our programs get, too.
func TestEnvironment(t *testing.T) {
	defaults(t)
	t.Setenv(variable, "3")
	few := processors.New()
	want(t, 3, "at rest")
	back := few.Two()
	want(t, 3, "for one who wants two")
	back()
	want(t, 3, "at rest again")
	if os.Getenv(variable) != "3" {
		t.Error("the environment has changed")
	}
}

// TestNone: without a Few nothing changes.
func TestNone(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	var none *processors.Few
	two, all := none.Two(), none.All()
	want(t, before, "for those who want more")
	two()
	all()
	want(t, before, "at rest again")
}
