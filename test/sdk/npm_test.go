// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/internal/testenv"
)

const (
	folder = "../../sdk/js"
	served = "../../web/demo/cardbroker.js" // what the agent has of it

	maxBundle = 30 << 10 // bytes
)

// npm runs one of the package's scripts.
func npm(t *testing.T, script string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(folder, "node_modules")); err != nil {
		testenv.Skip(t, "needs the npm packages of sdk/js, which make deps installs")
	}
	cmd := exec.CommandContext(t.Context(), testenv.Tool(t, "npm"), "run", "--silent", script)
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm run %s: %v\n%s", script, err, out)
	}
}

// TestPackage builds the package, runs its tests in node, and compares what the agent serves of it. With -update that becomes the same.
func TestPackage(t *testing.T) {
	npm(t, "build")
	built, err := os.ReadFile(filepath.Join(folder, "dist/cardbroker.js"))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(served, built, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if committed, err := os.ReadFile(served); err != nil || !bytes.Equal(committed, built) {
		t.Errorf("%s is not what %s makes (%v): go test ./test/sdk -update", served, folder, err)
	}
	if len(built) > maxBundle {
		t.Errorf("the SDK has %d bytes, want at most %d", len(built), maxBundle)
	}
	npm(t, "test")
}

// TestLock: the lock says of no package where somebody got it from, and each is what it was.
func TestLock(t *testing.T) {
	lock, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(lock), `"resolved"`) {
		t.Error("package-lock.json names a registry")
	}
	if packages, sums := strings.Count(string(lock), `"node_modules/`), strings.Count(string(lock), `"integrity"`); packages == 0 || packages != sums {
		t.Errorf("of %d packages %d have a checksum", packages, sums)
	}
}
