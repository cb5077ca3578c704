// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package program makes the programs that are measured.
package program

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// Build builds the programs as make build does, so that what is measured is what the tree says, and the card for the beds.
func Build(ctx context.Context) error {
	for _, program := range [][3]string{
		{"./cmd/cardbroker", "build/", "CGO_ENABLED=0"},
		{"./cmd/cardsandbox", "build/", "CGO_ENABLED=1"},
		{"./test/vcard", "build/bench/", "CGO_ENABLED=0"},
		{"./test/election", "build/bench/", "CGO_ENABLED=0"},
	} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program[1], program[0])
		cmd.Env = append(os.Environ(), program[2])
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w: %s", program[0], err, out)
		}
	}
	return nil
}
