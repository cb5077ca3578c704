// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package helper_test

import (
	"os/exec"
	"testing"

	"github.com/cardbroker/cardbroker/test/bench/helper"
)

// TestEnd: that of a helper was an EOF, and nobody knew why.
func TestEnd(t *testing.T) {
	const crowded = "it was not ready: it ended (exit status 1): bench agents: 1 of 16 is no agent"
	if _, err := helper.Start(exec.Command("sh", "-c", "echo 'bench agents: 1 of 16 is no agent' >&2; exit 1"), nil); err == nil || err.Error() != crowded {
		t.Errorf("the helper that fails: %v, want %q", err, crowded)
	}
	p, err := helper.Start(exec.Command("sh", "-c", "echo null; read question; echo 7; read again; kill -9 $$"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.End()
	var answer int
	if err := p.Ask("how many", &answer); err != nil || answer != 7 {
		t.Errorf("the helper answers %d, %v", answer, err)
	}
	const killed = "it ended without a word (signal: killed)"
	if err := p.Ask("once more", &answer); err == nil || err.Error() != killed {
		t.Errorf("the helper that was killed: %v, want %q", err, killed)
	}
}
