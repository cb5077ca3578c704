// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Sandbox builds cardsandbox for a test, with cgo, which PC/SC and PKCS#11 need, or without.
func Sandbox(t testing.TB, cgo bool) (program string) {
	t.Helper()
	env := "CGO_ENABLED=0"
	if cgo {
		Tool(t, "gcc")
		env = "CGO_ENABLED=1"
	}
	program = filepath.Join(t.TempDir(), "cardsandbox")
	build := exec.Command("go", "build", "-o", program, "github.com/cardbroker/cardbroker/cmd/cardsandbox")
	build.Env = append(os.Environ(), env)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build = %v: %s", err, out)
	}
	return program
}
