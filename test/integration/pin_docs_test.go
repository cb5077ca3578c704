// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// example returns the code of a language that docs/pin.md shows.
func example(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/pin.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```"+language+"\n")
	code, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatalf("docs/pin.md shows no %s", language)
	}
	return code
}

// TestPINDocs runs what docs/pin.md shows: a shell with curl and openssl, and WebCrypto in node.
func TestPINDocs(t *testing.T) {
	for _, tool := range []string{"curl", "openssl", "node"} {
		testenv.Tool(t, tool)
	}
	h, alice, _ := newAttack(t)
	h.start()
	_, line := h.logon(alice)
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	reader := h.readerAt(alice, at)
	h.deviceKey(alice, at)
	for _, test := range [][2]string{{"123456", `{"verified":true}`}, {"654321", "pin_incorrect"}} { // a page that was wrong twice may not go on
		pin, want := test[0], test[1]
		shell := exec.CommandContext(h.Context(), "/bin/sh", "-ec", example(t, "sh"))
		shell.Dir = alice.Home
		shell.Env = []string{"PATH=/usr/bin:/bin", "AGENT=http://" + at, "READER=" + reader, "PIN=" + pin}
		shell.SysProcAttr = &syscall.SysProcAttr{Credential: alice.Cred}
		out, err := shell.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("the shell says %s, %v, want %s", out, err, want)
		}
		var keys api.DeviceKeys
		var challenge api.PINChallenge
		json.Unmarshal(h.ask(alice, "tcp4", at, request("GET", at, "/cb/v1/device-key", "")).Body, &keys)
		json.Unmarshal(h.ask(alice, "tcp4", at, request("POST", at, "/cb/v1/pin-challenges", "")).Body, &challenge)
		arguments, err := json.Marshal([]any{keys.Keys[0], reader, challenge.Nonce, pin})
		if err != nil {
			t.Fatal(err)
		}
		node := exec.CommandContext(h.Context(), "node", "-e", example(t, "js")+"seal(..."+string(arguments)+").then((jwe) => process.stdout.write(jwe));")
		token, err := node.Output()
		if err != nil {
			t.Fatal(err)
		}
		if a := h.verifyPIN(alice, at, reader, piv(string(token))); !strings.Contains(string(a.Body), want) {
			t.Errorf("the JWE of node is answered %d %s, want %s", a.Status, a.Body, want)
		}
	}
}
