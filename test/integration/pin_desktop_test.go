// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/testenv"
)

// display starts an X server that all users of the test reach, and returns its name.
func (h *host) display() string {
	h.t.Helper()
	says, number, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	defer says.Close()
	cmd := exec.Command(testenv.Tool(h.t, "Xvfb"), "-displayfd", "3", "-ac", "-screen", "0", "800x600x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{number}
	err = cmd.Start()
	number.Close()
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	says.SetReadDeadline(time.Now().Add(limit / 2))
	line, err := bufio.NewReader(says).ReadString('\n')
	if err != nil {
		h.t.Fatalf("Xvfb named no display: %v", err)
	}
	return ":" + strings.TrimSpace(line)
}

// TestPINDesktop: without a program of policy's the user is asked by a real dialog of his desktop, whatever the page sends with
// osDialog; cancelled, timed out and wrong are three reasons.
func TestPINDesktop(t *testing.T) {
	h, alice, _ := newAttack(t)
	testenv.Tool(t, "zenity")
	testenv.Tool(t, "xdotool")
	display := h.display()
	alice.Env = append(alice.Env, "DISPLAY="+display)
	h.start()
	agent, line := h.logon(alice)
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	h.deviceKey(alice, at)
	reader := h.readerAt(alice, at)
	asks := func(name, reason string, left int, keys ...string) {
		t.Helper()
		ctx, cancel := context.WithCancel(h.Context())
		defer cancel()
		cmd := exec.CommandContext(ctx, "xdotool", append([]string{"search", "--sync", "--onlyvisible", "--name", "^Smart card$", "windowfocus", "--sync"}, keys...)...)
		cmd.Env = append(os.Environ(), "DISPLAY="+display)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		a := h.verifyPIN(alice, at, reader, `{"reference":"80","aid":"A000000308","pin":"000000","osDialog":true}`)
		cancel()   // it may still look for a dialog
		cmd.Wait() // it minds that the dialog closes
		var said struct{ Retries int }
		json.Unmarshal(a.Body, &said)
		if strings.TrimSpace(a.reason()) != reason || said.Retries != left {
			t.Errorf("%s: verify-pin is answered %d %s, want %q, %d tries", name, a.Status, a.Body, reason, left)
		}
	}
	asks("wrong", "pin_incorrect", 2, "type", "--args", "1", "654321", "key", "Return")
	asks("cancelled", "pin_canceled", 0, "type", "--args", "1", "123456", "key", "Escape")
	asks("right", "", 0, "type", "--args", "1", "123456", "key", "Return")

	if err := agent.Stop(); err != nil { // a dialog takes seconds to show up where much else is to be done
		t.Error(err)
	}
	h.policy = h.Path("policy.d")
	if err := os.Mkdir(h.policy, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.Path("policy.d", "a.yaml"), []byte("prompt: {timeout: 3s}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, line = h.logon(alice)
	at = fmt.Sprintf("127.0.0.1:%d", line.Port)
	h.deviceKey(alice, at)
	reader = h.readerAt(alice, at)
	asks("timed out", "timeout", 0, "type", "123456")
}
