// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// commands collects what a card was told to do.
type commands struct {
	mu   sync.Mutex
	told bytes.Buffer
}

func (c *commands) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told.Write(p)
}

func (c *commands) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told.Len()
}

// blocks follows a watcher and returns a function that waits for the next block of lines that says state.
func (h *host) blocks(args ...string) func(state string) string {
	h.t.Helper()
	cmd := h.Command(nil, "cardbroker", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	return func(state string) string {
		h.t.Helper()
		var block strings.Builder
		for lines.Scan() {
			block.WriteString(lines.Text() + "\n")
			if lines.Text() != "" {
				continue
			}
			if strings.Contains(block.String(), "\n  State: "+state+"\n") {
				return block.String()
			}
			block.Reset()
		}
		h.t.Fatalf("no block says %q: %v", state, lines.Err())
		return ""
	}
}

// TestScanOfRealReaders watches readers of a real PC/SC service: a card, none, and one that does not answer. No command
// ever reaches a card.
func TestScanOfRealReaders(t *testing.T) {
	if err := pcscbed.Supported(); err != nil {
		testenv.Skip(t, err.Error())
	}
	testenv.Tool(t, "gcc")
	h := newHost(t)
	h.start()
	sandbox := h.Path("cardsandbox-pcsc")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", sandbox, "../../cmd/cardsandbox").CombinedOutput(); err != nil {
		t.Fatalf("cannot build the sandbox: %s", out)
	}
	bed, err := pcscbed.Start(h.Context(), pcscbed.Config{Dir: filepath.Join(t.TempDir(), "bed"), Readers: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bed.Stop() })
	insert := func(card pcscbed.Card) {
		t.Helper()
		if err := bed.Insert(h.Context(), 0, card); err != nil {
			t.Fatal(err)
		}
	}
	remove := func() {
		t.Helper()
		if err := bed.Remove(h.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err = h.Start(nil, "agent", "agent", "run", "--socket", h.socket, "--state", h.Path("agent"), "--session", "bed",
		"--sandbox", sandbox, "--pcsc-socket", bed.Socket())
	if err != nil {
		t.Fatal(err)
	}
	next := h.blocks("agent", "readers", "--watch", "--socket", h.socket, "--state", h.Path("agent"), "--session", "bed")
	next("reader connected")
	told := &commands{}
	insert(pcscbed.Card{ATR: "3BF81300008131FE15597562696B657934D4", Commands: told})
	block := next("card inserted")
	for _, want := range []string{
		"Reader: " + bed.Readers()[0] + " (", "  ATR: 3B F8 13 00 00 81 31 FE 15 59 75 62 69 6B 65 79 34 D4\n", " + Protocols: T=1;", "(Yubikey4)", "TCK = D4: right",
		"  Possibly identified card:\n",
	} {
		if !strings.Contains(block, want) {
			t.Errorf("the block is\n%swant %q in it", block, want)
		}
	}
	remove()
	next("no card")
	insert(pcscbed.Card{Mute: true, Commands: told})
	if block := next("card inserted, mute: it does not answer"); strings.Contains(block, "ATR") {
		t.Errorf("the block of a mute card is\n%swant no ATR", block)
	}
	if out, err := h.Run(nil, "cardbroker", "agent", "readers", "--socket", h.socket, "--state", h.Path("agent"), "--session", "bed"); err != nil ||
		!strings.Contains(string(out.Stdout), "  mute  ") {
		t.Errorf("agent readers = %s %s %v, want a card that is mute", out.Stdout, out.Stderr, err)
	}
	remove()
	next("no card")
	if n := told.count(); n != 0 {
		t.Errorf("%d commands reached the cards, want none", n)
	}
}
