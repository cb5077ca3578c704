// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package testenv says what a test may rely on. A test that lacks something is skipped by name and reason, and fails
// where the environment variable CARDBROKER_REQUIRE is "all", as in continuous integration. Only tests import it.
package testenv

import (
	"os"
	"os/exec"
	"testing"
)

// Skip skips the test for the given reason, or fails it where everything is required.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CARDBROKER_REQUIRE") == "all" {
		t.Fatalf("required, but missing: %s", reason)
	}
	t.Skip(reason)
}

// Root skips the test unless it runs as root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "needs root")
	}
}

// Self is this test program, for processes of other users: its path is closed to them, and so is the file with the umask of
// some who build it.
func Self() string {
	const self = "/proc/self/exe"
	if info, err := os.Stat(self); err == nil {
		os.Chmod(self, info.Mode()|0o055)
	}
	return self
}

// Tool returns the path of a program, or skips the test where it is not installed.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skip(t, "needs the program "+name)
	}
	return path
}
