// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pkcs11_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// folder is where TestMain builds what the tests of this package share.
const folderVariable = "CARDBROKER_PKCS11_TEST"

func folder(parts ...string) string {
	return filepath.Join(append([]string{os.Getenv(folderVariable)}, parts...)...)
}

// TestMain builds cardsandbox: without the race detector, which does not start under Landlock.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cardbroker-pkcs11-")
	if err == nil {
		err = os.Setenv(folderVariable, dir)
	}
	if err == nil {
		build := exec.Command("go", "build", "-o", folder("cardsandbox"), "github.com/cardbroker/cardbroker/cmd/cardsandbox")
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
		var out []byte
		if out, err = build.CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// child is cardsandbox with one library, for a test.
type child struct {
	*tokenbed.Child
	t testing.TB
}

// start starts cardsandbox for the time of the test.
func start(t testing.TB, library string, env ...string) *child {
	t.Helper()
	c, err := tokenbed.Start(folder("cardsandbox"), library, env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop() })
	return &child{c, t}
}

// slot returns the slot whose token has the label.
func (c *child) slot(label string) token.Slot {
	c.t.Helper()
	slot, err := c.Slot(label)
	if err != nil {
		c.Stop()
		c.t.Fatalf("%v\n%s", err, c.Said.String())
	}
	return slot
}

// want fails the test unless err has the reason.
func want(t testing.TB, what string, err error, reason cardbroker.Reason) {
	t.Helper()
	if got := cardbroker.ReasonOf(err); got != reason {
		t.Errorf("%s: %v, want the reason %q", what, err, reason)
	}
}

// need skips the test without a file.
func need(t testing.TB, pattern string) string {
	t.Helper()
	found, _ := filepath.Glob(pattern)
	if len(found) == 0 {
		testenv.Skip(t, "needs "+pattern)
	}
	return found[0]
}

// run runs a tool.
func run(t testing.TB, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, testenv.Tool(t, name), args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
