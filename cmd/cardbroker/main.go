// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Command cardbroker is the program for all three audiences: `host` for administrators of a shared host, `agent` for its
// users, `reader` for back ends. It parses flags and wires packages together; what it does is in those packages.
package main

import (
	"fmt"
	"os"

	"github.com/cardbroker/cardbroker/internal/nodump"
)

func main() {
	if err := nodump.Set(); err != nil { // PINs, tickets and tokens pass through
		fmt.Fprintln(os.Stderr, "cardbroker:", err)
		os.Exit(1)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}
