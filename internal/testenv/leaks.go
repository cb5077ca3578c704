// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"os"
	"runtime"
	"testing"
	"time"
)

// Leaks counts the goroutines and open files of this process. What it returns waits until there are no more than that, as the
// runtime and net/http end theirs in their own time, and fails the test if there are after twenty seconds.
func Leaks(t testing.TB) (settled func()) {
	t.Helper()
	goroutines, files := runtime.NumGoroutine(), openFiles()
	return func() {
		t.Helper()
		for start := time.Now(); runtime.NumGoroutine() > goroutines || openFiles() > files; runtime.Gosched() {
			if time.Since(start) > 20*time.Second {
				stacks := make([]byte, 1<<16)
				t.Fatalf("%d goroutines, were %d; %d open files, were %d\n%s", runtime.NumGoroutine(), goroutines, openFiles(), files,
					stacks[:runtime.Stack(stacks, true)])
			}
		}
	}
}

// openFiles counts the open files of this process; 0 where the system does not say.
func openFiles() int {
	list, _ := os.ReadDir("/proc/self/fd")
	return len(list)
}
