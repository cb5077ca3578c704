// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscbed_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// nobody is a user who has no readers.
const nobody = 65534

// start starts a bed for the time of the test, and returns a context for what is asked of it.
func start(t *testing.T, cfg pcscbed.Config) (context.Context, *pcscbed.Bed) {
	t.Helper()
	if err := pcscbed.Supported(); err != nil {
		testenv.Skip(t, err.Error())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	dir, err := os.MkdirTemp("", "bed") // short; and TempDir has directories of mode 0700 above it
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dir = filepath.Join(dir, "bed")
	bed, err := pcscbed.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bed.Stop(); err != nil {
			t.Errorf("Stop() = %v", err)
		}
		if err := os.Remove(dir); err != nil {
			t.Errorf("the bed left something: %v", err)
		}
	})
	return ctx, bed
}

// list returns what a program of a user sees through the bed's socket.
func list(t *testing.T, bed *pcscbed.Bed, uid uint32) string {
	t.Helper()
	cmd := exec.Command(testenv.Tool(t, "opensc-tool"), "-l")
	cmd.Dir = "/"
	cmd.Env = []string{"PCSCLITE_CSOCK_NAME=" + bed.Socket()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, _ := cmd.CombinedOutput()
	return string(out)
}

// TestBed plays with the service as tests do, and looks at it with a program that does not know us.
func TestBed(t *testing.T) {
	ctx, bed := start(t, pcscbed.Config{Readers: 3, UID: nobody, GID: nobody})
	if n := len(bed.Readers()); n != 4 {
		t.Errorf("Readers() = %d readers, want 4", n)
	}
	cardIn := func(line string) bool { return strings.Contains(line, "Yes") }
	look := func(when string, want ...bool) {
		t.Helper()
		lines := strings.Split(strings.TrimSpace(list(t, bed, nobody)), "\n")
		if len(lines) != 2+len(want) {
			t.Fatalf("%s: opensc-tool -l = %q, want %d readers", when, lines, len(want))
		}
		for n, in := range want {
			at := -1
			for i, line := range lines {
				if strings.Contains(line, bed.Readers()[n]) {
					at = i
				}
			}
			if at < 0 || cardIn(lines[at]) != in {
				t.Errorf("%s: opensc-tool -l = %q, want a card in reader %d: %v", when, lines, n, in)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	look("empty", false, false, false, false)
	must(bed.Insert(ctx, 1, pcscbed.Card{}))
	seen, tell := io.Pipe()
	must(bed.Insert(ctx, 2, pcscbed.Card{ATR: "3B80800101", Mute: false, Seen: tell}))
	if n, err := seen.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("the card told %d times that it was seen, %v, want once", n, err)
	}
	look("two cards", false, true, true, false)
	if err := bed.Insert(ctx, 1, pcscbed.Card{}); err == nil {
		t.Error("Insert into a full reader = nil, want an error")
	}
	must(bed.Remove(ctx, 1))
	look("one card", false, false, true, false)
	bed.Kill()
	must(bed.StartService(ctx))
	look("another service", false, false, false, false)
	must(bed.Insert(ctx, 1, pcscbed.Card{Mute: true}))
	if seen := list(t, bed, nobody-1); strings.Contains(seen, "Bed") {
		t.Errorf("another user sees %q, want nothing", seen)
	}
}
