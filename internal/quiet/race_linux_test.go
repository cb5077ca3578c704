// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build race

package quiet_test

import (
	"os/exec"
	"testing"
)

// TestWithoutDetector runs the other tests on the calls that they are about: with the race detector those are package net's.
func TestWithoutDetector(t *testing.T) {
	said, err := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-timeout=1m", ".").CombinedOutput()
	if err != nil {
		t.Errorf("go test = %v: %s", err, said)
	}
}
