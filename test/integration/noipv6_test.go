// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// noIPv6 says that this process is in a network namespace without IPv6.
const noIPv6 = "CARDBROKER_TEST_NO_IPV6"

// TestHostWithoutIPv6 runs the whole of it, from offer to answer, on a host that has 127.0.0.1 alone.
func TestHostWithoutIPv6(t *testing.T) {
	if os.Getenv(noIPv6) == "" {
		testenv.Root(t)
		testenv.Tool(t, "ip")
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestHostWithoutIPv6$", "-test.v")
		cmd.Env = append(os.Environ(), noIPv6+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("in a namespace without IPv6: %v\n%s", err, out)
		}
		return
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("ip link: %s", out)
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	h := newHost(t)
	h.start()
	if len(h.ready.Listen) != 1 {
		t.Errorf("the broker listens on %v, want 127.0.0.1 alone", h.ready.Listen)
	}
	_, line := h.logon(&h.Users[0])
	if len(line.Listen) != 1 {
		t.Errorf("the agent listens on %v, want 127.0.0.1 alone", line.Listen)
	}
	s := h.await("the agent registered", func(s api.Session) bool { return s.State == cardbroker.Registered })
	if !s.ListenerOK {
		t.Errorf("sessions = %+v, want the listener to be his own", s)
	}
	h.apdu(0, h.offer(&h.Users[0]).Ticket, "80EE0000020102")
}
