// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
)

// oneProcessor has this process run Go code on one processor at a time. An agent serves one user, who mostly waits for a card: with more
// processors each step of a command wakes up a thread that finds nothing to do. Who knows better sets GOMAXPROCS.
func oneProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}
