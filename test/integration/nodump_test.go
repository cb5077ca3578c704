// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker/test/stage"
)

// TestNobodyLooksInside: PINs, tickets and tokens pass through agents, broker and sandbox. Another program of the same user
// sees nothing of their memory, and a crash leaves no core.
func TestNobodyLooksInside(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.start()
	_, agent := h.logon(alice)
	h.offer(alice) // starts the sandbox
	child, err := stage.ChildOf(agent.PID)
	if err != nil {
		t.Fatal(err)
	}
	look := func(pid int) error {
		cmd := exec.Command("cat", fmt.Sprintf("/proc/%d/environ", pid), fmt.Sprintf("/proc/%d/maps", pid))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: alice.Cred}
		return cmd.Run()
	}
	own := exec.Command("sleep", "60")
	own.SysProcAttr = &syscall.SysProcAttr{Credential: alice.Cred}
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	defer own.Wait()
	defer own.Process.Kill()
	if err := look(own.Process.Pid); err != nil {
		t.Fatalf("alice sees nothing of a program of hers that hides nothing: %v", err)
	}
	core := regexp.MustCompile(`(?m)^Max core file size\s+0\s+0\s`)
	for name, pid := range map[string]int{"agent": agent.PID, "sandbox": child, "broker": h.ready.PID} {
		if err := look(pid); err == nil {
			t.Errorf("alice looks into the %s", name)
		}
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		if err != nil || !core.Match(limits) {
			t.Errorf("the %s may leave a core: %s %v", name, limits, err)
		}
	}
}
