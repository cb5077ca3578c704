// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker/internal/testenv"
)

// stageFor copies this program and the shell to where every user may run them, each under the name that it is given.
func stageFor(t *testing.T, shell string) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cardbroker-session-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"agent": self, shell: "/bin/sh"} {
		program, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(to, program, 0o755), os.Chmod(to, 0o755)); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	return dir
}

// hosted is a session with a program in it that watches it.
type hosted struct {
	id, kind string
	leader   int
	out      *bufio.Reader
}

// host runs a script that starts $AGENT somewhere below.
func host(t *testing.T, shell, script string, user uint32) hosted {
	t.Helper()
	dir := stageFor(t, shell)
	cmd := exec.Command(filepath.Join(dir, shell), "-c", script)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "DISPLAY=:10.0", "CARDBROKER_TEST_WATCH=1", "AGENT=" + filepath.Join(dir, "agent"),
		"DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent/bus"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}, Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); cmd.Wait() })
	h := hosted{out: bufio.NewReader(out)}
	if _, err := fmt.Sscan(h.line(t), &h.id, &h.kind, &h.leader); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h hosted) line(t *testing.T) string {
	t.Helper()
	line, err := h.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the program has ended: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

const window = `setpriv --reuid=65533 --regid=65533 --clear-groups sh -c '"$AGENT"; true'`

// TestXRDP has a session manager of that name, root's, run two sessions on one display, one after the other.
func TestXRDP(t *testing.T) {
	testenv.Root(t)
	testenv.Tool(t, "setpriv")
	first := host(t, "xrdp-sesman", window+"; true", 0)
	if !strings.HasPrefix(first.id, "xrdp:10-") || first.kind != "xrdp" {
		t.Fatalf("the session is %+v", first)
	}
	syscall.Kill(first.leader, syscall.SIGKILL)
	if got := first.line(t); got != "ended" {
		t.Errorf("the session tells %q, want ended", got)
	}
	next := host(t, "xrdp-sesexec", window+"; true", 0)
	if !strings.HasPrefix(next.id, "xrdp:10-") || next.id == first.id {
		t.Errorf("the next session on the display is %q, the one before was %q", next.id, first.id)
	}
}

// TestOwnSessionManager has a user call a program of his own as xrdp's: that makes no session.
func TestOwnSessionManager(t *testing.T) {
	testenv.Root(t)
	h := host(t, "xrdp-sesman", `sh -c '"$AGENT"; true'; true`, 65533)
	if h.id != "uid:65533" || h.kind != "none" {
		t.Fatalf("the session is %+v, want none", h)
	}
	if got := h.line(t); got != "unsupported" {
		t.Errorf("what it tells is %q, want that nothing does", got)
	}
}

// TestAuditEnd logs somebody in as pam_loginuid does; the session is over when that process is.
func TestAuditEnd(t *testing.T) {
	testenv.Root(t)
	if err := exec.Command("sh", "-c", "echo 61001 >/proc/self/loginuid").Run(); err != nil {
		testenv.Skip(t, "needs audit sessions")
	}
	h := host(t, "sh", `sh -c 'echo 61001 >/proc/self/loginuid; sh -c "exec \"$AGENT\"; true"; true'; true`, 0)
	if h.kind != "audit" {
		t.Fatalf("the session is %+v", h)
	}
	syscall.Kill(h.leader, syscall.SIGKILL)
	if got := h.line(t); got != "ended" {
		t.Errorf("the session tells %q, want ended", got)
	}
}
