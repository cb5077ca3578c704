// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// TestPINCanaries: PINs that a user enters, right, wrong and new, are in no log and no file but his own.
func TestPINCanaries(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.verbose = true
	h.setPolicy("agent")
	h.start()
	h.logon(alice)
	random := func() string {
		n, err := rand.Int(rand.Reader, big.NewInt(1e8))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%08d", n)
	}
	wrong, fresh := random(), random()
	tunnel := h.tunnel(alice)
	h.answers(alice, "echo "+wrong+" >&2; echo "+wrong)
	if got := pad(h.Context(), tunnel, 15); got != "63c2" {
		t.Errorf("the wrong PIN is answered %s, want 63c2", got)
	}
	h.answers(alice, "echo "+wrong+"; echo "+wrong+"; exit 3")
	pad(h.Context(), tunnel, 15)
	h.answers(alice, "echo 123456; echo "+fresh+"; echo "+fresh)
	structure := []byte{15, 15, 0x82, 8, 0, 0, 8, 8, 4, 3, 2, 0xFF, 0x09, 0x04, 0, 1, 2, 0, 0, 0}
	if got := control(h.Context(), tunnel, pinpad.ModifyPINDirect, structure, "\x00\x24\x00\x80\x10"+strings.Repeat("\xFF", 16)); got != "9000" {
		t.Errorf("the new PIN is answered %s, want 9000", got)
	}
	h.answers(alice, "echo "+fresh)
	if got := pad(h.Context(), tunnel, 15); got != "9000" {
		t.Errorf("the new PIN is verified with %s, want 9000", got)
	}
	tunnel.Close()
	h.broker.Stop()
	if err := os.Remove(alice.Home + "/answer"); err != nil {
		t.Fatal(err)
	}
	h.searchFiles(canaries{"wrong PIN": []byte(wrong), "new PIN": []byte(fresh)})
}

// TestPINOpenSC: OpenSC, which knows nothing of us, finds the pin pad of a remote reader by itself, and has the user asked.
func TestPINOpenSC(t *testing.T) {
	tool := testenv.Tool(t, "pkcs15-tool")
	h, alice, _ := newAttack(t)
	h.setPolicy("agent")
	h.start()
	h.logon(alice)
	socket := h.Path("pcscd.comm")
	served, _, err := h.Start(nil, "serve", "reader", "serve", "--socket", socket, "--broker", h.ready.Backend, "--ca", h.Path("door.pem"),
		"--token-file", h.Path("token"), "--ticket", h.offer(alice).Ticket)
	if err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]string{ // what it says at debug
		"echo 123456": "PIN cmd result 0",
		"exit 1":      "Input operation cancelled by user",
		"echo 999999": "PIN code or key incorrect",
	} {
		h.answers(alice, script)
		os.Remove(alice.Home + "/told")
		cmd := exec.CommandContext(h.Context(), tool, "--verify-pin", "--auth-id", "01")
		cmd.Env = []string{"PATH=/usr/bin:/bin", "PCSCLITE_CSOCK_NAME=" + socket, "HOME=" + h.Path(), "OPENSC_DEBUG=9"}
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), want) || (err == nil) != (script == "echo 123456") {
			t.Errorf("%q: OpenSC says %s, %v, want %q", script, out[max(0, len(out)-6000):], err, want)
		}
		if told, err := os.ReadFile(alice.Home + "/told"); err != nil {
			t.Errorf("%q: nobody was asked: %s, %v", script, told, err)
		}
	}
	if err := served.Stop(); err != nil {
		t.Errorf("reader serve ended with %v", err)
	}
}
