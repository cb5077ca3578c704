// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// setPolicy makes a policy of root's with a prompt that runs its user's script: what he will do is in $HOME/answer, what
// he was told in $HOME/told. The tenant "issuer" has the PIN mode.
func (h *host) setPolicy(mode string) {
	h.t.Helper()
	h.policy = h.Path("policy.d")
	for name, content := range map[string]string{
		"ask":                "#!/bin/sh\ncat >>\"$HOME/told\"\n. \"$HOME/answer\"\n",
		"policy.d/a.yaml":    "prompt:\n  command: [" + h.Path("ask") + "]\n  timeout: 20s\n",
		"policy.d/b.yaml":    "tenants:\n  issuer: {pin: " + mode + "}\n",
		"policy.d/README.md": "not policy",
	} {
		if err := os.MkdirAll(filepath.Dir(h.Path(name)), 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(h.Path(name), []byte(content), 0o755); err != nil {
			h.t.Fatal(err)
		}
	}
}

// answers says what a user does when he is asked: a shell script.
func (h *host) answers(p *stage.Person, script string) {
	h.t.Helper()
	if err := os.WriteFile(p.Home+"/answer", []byte(script+"\n"), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// tunnel opens a tunnel of the tenant "issuer" to the user's card, with PIV selected.
func (h *host) tunnel(p *stage.Person) *virtualreader.Tunnel {
	h.t.Helper()
	return h.tunnelBy(h.offer(p).Ticket)
}

// tunnelBy is tunnel by a ticket.
func (h *host) tunnelBy(ticket string) *virtualreader.Tunnel {
	h.t.Helper()
	client, err := virtualreader.New(virtualreader.Config{
		Brokers: []string{h.ready.Backend}, TLS: h.doorTLS(), Token: cardbroker.NewSecret([]byte(h.token("issuer"))),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	tunnel, err := client.Open(h.Context(), virtualreader.TicketReader, ticket, virtualreader.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { tunnel.Close() })
	if sw := h.transmit(tunnel, "00A404000BA000000308000010000100"); sw[:2] != "61" {
		h.t.Fatalf("SELECT is answered %s", sw)
	}
	return tunnel
}

// transmit returns the status word of a command, or the reason why there is none.
func (h *host) transmit(t *virtualreader.Tunnel, text string) string {
	h.t.Helper()
	command, err := hex.DecodeString(text)
	if err != nil {
		h.t.Fatal(err)
	}
	answer, err := t.Transmit(h.Context(), command)
	if err != nil {
		return string(cardbroker.ReasonOf(err))
	}
	return hex.EncodeToString(answer.Response[len(answer.Response)-2:])
}

// pad has the user enter his PIN, and returns what is answered, or the reason why nothing is.
func pad(ctx context.Context, t *virtualreader.Tunnel, timeout byte) string {
	structure := []byte{timeout, timeout, 0x82, 8, 0, 8, 4, 2, 0xFF, 0x09, 0x04, 0, 0, 0, 0}
	return control(ctx, t, pinpad.VerifyPINDirect, structure, "\x00\x20\x00\x80\x08"+strings.Repeat("\xFF", 8))
}

// control calls a function of the pin pad with a structure that has this command.
func control(ctx context.Context, t *virtualreader.Tunnel, tag pinpad.Tag, structure []byte, command string) string {
	structure = append(binary.LittleEndian.AppendUint32(structure, uint32(len(command))), command...)
	answer, err := t.Control(ctx, tag.Code(), structure)
	if err != nil {
		return string(cardbroker.ReasonOf(err))
	}
	return hex.EncodeToString(answer)
}

const verifyPIV = "0020008008313233343536FFFF"

// TestPINAgent: the back end has the user verify his PIN, and never sees it; cancelled, timed out and wrong are three
// outcomes.
func TestPINAgent(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.setPolicy("agent")
	h.start()
	h.logon(alice)
	tunnel := h.tunnel(alice)
	features, err := tunnel.Control(h.Context(), pinpad.GetFeatureRequest, nil)
	if parsed, _ := pinpad.ParseFeatures(features); err != nil || len(parsed) != 4 {
		t.Errorf("the features are %X, %v", features, err)
	}
	if got := h.transmit(tunnel, verifyPIV); got != "forbidden" {
		t.Errorf("VERIFY with a PIN is answered %s, want forbidden", got)
	}
	for _, test := range []struct{ name, script, want, left string }{
		{"right", "echo 123456", "9000", "9000"},
		{"cancelled", "exit 1", "6401", "9000"},
		{"timed out", "sleep 100", "6400", "9000"},
		{"wrong", "echo 654321", "63c2", "63c2"},
		{"too short", "echo 123", "6403", "63c2"},
		{"the prompt does not work", "exit 7", "pin_canceled", "63c2"},
		{"wrong again", "echo 654321", "63c1", "63c1"},
		{"right again", "echo 123456", "9000", "9000"},
	} {
		h.answers(alice, test.script)
		timeout := byte(15)
		if test.name == "timed out" {
			timeout = 1
		}
		if got := pad(h.Context(), tunnel, timeout); got != test.want {
			t.Errorf("%s: the answer is %s, want %s", test.name, got, test.want)
		}
		if got := h.transmit(tunnel, "00200080"); got != test.left {
			t.Errorf("%s: then the card says %s, want %s", test.name, got, test.left)
		}
	}
	told, err := os.ReadFile(alice.Home + "/told")
	if err != nil || !strings.HasPrefix(string(told), `{"kind":"pin","action":"verify","tenant":"issuer","reader":"cardbroker Software Reader 00 00","ask":["pin"],"min":4,"max":8,"digits":false,"timeout_s":`) {
		t.Errorf("the prompt was told %s, %v", told, err)
	}
}

// TestPINPromptCloses: a back end that leaves takes its prompt with it.
func TestPINPromptCloses(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.setPolicy("agent")
	h.start()
	h.logon(alice)
	agent := []string{"--socket", h.socket, "--state", alice.Home + "/state"}
	for name, leave := range map[string]func(*virtualreader.Tunnel, context.CancelFunc){
		"its asker leaves": func(_ *virtualreader.Tunnel, cancel context.CancelFunc) { cancel() },
		"the user ends the lease": func(tunnel *virtualreader.Tunnel, _ context.CancelFunc) {
			h.run(alice, 0, nil, append([]string{"agent", "leases", "revoke", tunnel.ID}, agent...)...)
		},
	} {
		pidFile := alice.Home + "/pid"
		os.Remove(pidFile)
		h.answers(alice, `echo $$ >"$HOME/pid.new"; mv "$HOME/pid.new" "$HOME/pid"; sleep 100`)
		tunnel := h.tunnel(alice)
		ctx, cancel := context.WithCancel(h.Context())
		answered := make(chan string, 1)
		go func() { answered <- pad(ctx, tunnel, 15) }()
		var pid string
		h.until("a prompt", func() bool {
			text, err := os.ReadFile(pidFile)
			pid = strings.TrimSpace(string(text))
			return err == nil
		})
		start := time.Now()
		leave(tunnel, cancel)
		if got := <-answered; got != "indeterminate" {
			t.Errorf("%s: the answer is %s, want indeterminate", name, got)
		}
		h.until("the prompt's end", func() bool {
			_, err := os.Stat("/proc/" + pid)
			return err != nil
		})
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: the prompt was open for %v more", name, took)
		}
		cancel()
		tunnel.Close()
		h.until("the lease's end", func() bool {
			var leases struct{ Leases []any }
			h.run(alice, 0, &leases, append([]string{"agent", "leases"}, agent...)...)
			return len(leases.Leases) == 0
		})
	}
}

// TestPINOtherModes: passthrough lets a back end send a PIN; deny, which is the default, does not, and shows no pin pad.
func TestPINOtherModes(t *testing.T) {
	for mode, want := range map[string]string{"passthrough": "9000", "deny": "forbidden", "": "forbidden"} {
		t.Run(mode, func(t *testing.T) {
			h, alice, _ := newAttack(t)
			if mode != "" {
				h.setPolicy(mode)
			}
			h.start()
			h.logon(alice)
			h.answers(alice, "echo 123456")
			tunnel := h.tunnel(alice)
			if features, err := tunnel.Control(h.Context(), pinpad.GetFeatureRequest, nil); err != nil || len(features) != 0 {
				t.Errorf("the features are %X, %v, want none", features, err)
			}
			if got := pad(h.Context(), tunnel, 15); got != "forbidden" {
				t.Errorf("the pin pad answers %s, want forbidden", got)
			}
			if got := h.transmit(tunnel, verifyPIV); got != want {
				t.Errorf("VERIFY is answered %s, want %s", got, want)
			}
			for _, command := range []string{"0070000001", "00C2000001AA", "FF20008008313233343536FFFF"} {
				if got := h.transmit(tunnel, command); got != "forbidden" {
					t.Errorf("%s is answered %s, want forbidden", command, got)
				}
			}
			if told, err := os.ReadFile(alice.Home + "/told"); err == nil {
				t.Errorf("somebody was asked: %s", told)
			}
		})
	}
}

// TestPolicyIsRoots: an agent does not start with a policy that its user, or anybody, could have written.
func TestPolicyIsRoots(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.setPolicy("agent")
	if err := os.Chown(h.Path("policy.d", "b.yaml"), int(alice.Cred.Uid), 0); err != nil {
		t.Fatal(err)
	}
	out, err := h.Run(alice, "cardbroker", "agent", "run", "--socket", h.socket, "--state", alice.Home+"/state", "--policy", h.policy, "--software-card")
	if err != nil || out.Status != 2 || !strings.Contains(string(out.Stderr), "chown root and chmod go-w "+h.Path("policy.d", "b.yaml")) {
		t.Errorf("agent run = %d, %v: %s, want 2 with the fix", out.Status, err, out.Stderr)
	}
}
