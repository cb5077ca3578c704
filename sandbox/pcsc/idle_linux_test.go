// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/pcsc"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// watchArgument has this program watch alone, and print a line for each event.
const watchArgument = "watch-alone"

// watchAlone watches until it is killed.
func watchAlone() {
	err := pcsc.New(slog.New(slog.DiscardHandler)).Watch(context.Background(), func(e sandbox.Event) { fmt.Println(describe(e)) })
	fmt.Println("Watch() =", err)
	os.Exit(1)
}

// TestIdle counts what a watcher does while nothing changes: a process that does nothing else is traced for a while, and
// makes no call of the network, without which nothing reaches the service. The time is that between the look at
// what was missed a second after the last change, and the last look.
func TestIdle(t *testing.T) {
	strace := testenv.Tool(t, "strace")
	b := newBed(t)
	b.insert(pcscbed.Card{})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(b.ctx, self, watchArgument)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		child.Process.Kill()
		child.Wait()
	}()
	events := bufio.NewScanner(out)
	for events.Scan() && events.Text() != "complete" {
	}

	trace := filepath.Join(t.TempDir(), "trace")
	look := func(seconds string) int {
		t.Helper()
		// strace ends with the status of timeout's signal.
		exec.Command("timeout", "-s", "INT", seconds, strace, "-f", "-o", trace, "-e", "trace=network", "-p", fmt.Sprint(child.Process.Pid)).Run()
		text, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		return len(regexp.MustCompile(`(?m)^\d+ +\w+\(`).FindAll(text, -1))
	}
	look("2") // the looks of the first second pass
	start := time.Now()
	if n := look("3"); n > 0 {
		text, _ := os.ReadFile(trace)
		t.Errorf("%d calls within %v in which nothing changed, want none: %s", n, time.Since(start), bytes.TrimSpace(text))
	}
	seen := make(chan int, 1)
	go func() { seen <- look("3") }()
	for traced := false; !traced; {
		b.remove()
		b.insert(pcscbed.Card{})
		select {
		case n := <-seen:
			traced = true
			if n == 0 {
				t.Error("strace saw no calls while a card came and went: it sees nothing")
			}
		default:
		}
	}
}
