// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

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
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, testenv.Tool(t, "npm"), "run", "--silent", script)
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm run %s: %v\n%s", script, err, out)
	}
}

// TestPackage builds the package and tests what it is made of.
func TestPackage(t *testing.T) {
	npm(t, "build")
	t.Run("served", testServed)
	t.Run("documents", testDocuments)
	t.Run("units", func(t *testing.T) { npm(t, "test") })
}

// testServed compares what the agent serves of it. With -update that becomes the same.
func testServed(t *testing.T) {
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

// testDocuments: what the documents show is what the types say, as an application sees them that has installed the package.
func testDocuments(t *testing.T) {
	shown := filepath.Join(folder, "dist", "shown") // by its own name the package is there for all that is in it
	if err := os.MkdirAll(shown, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shown) })
	for _, name := range []string{"../../docs/javascript.md", folder + "/README.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		snippets := regexp.MustCompile("(?s)```js\n(.*?)```").FindAllSubmatch(text, -1)
		if len(snippets) == 0 {
			t.Errorf("%s shows nothing", name)
		}
		for i, snippet := range snippets {
			file := fmt.Sprintf("%s-%d.ts", strings.TrimSuffix(filepath.Base(name), ".md"), i+1)
			if err := os.WriteFile(filepath.Join(shown, file), snippet[1], 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	npm(t, "shown")
}
