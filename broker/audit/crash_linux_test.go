// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/audit"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/store"
)

const (
	crashRounds = 12
	crashDir    = "CARDBROKER_TEST_AUDIT_DIR" // set in the writer's process
)

// TestKilledBrokerLosesNothing kills a process that writes its log as fast as it can, again and again. What was acknowledged is
// there, the chain goes on, and what was torn is told of.
func TestKilledBrokerLosesNothing(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	dir := t.TempDir()
	last, repaired := cardbroker.Anchor{}, 0
	for round := range crashRounds {
		writer := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
		writer.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := writer.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		acknowledged := bufio.NewScanner(out)
		var anchors []cardbroker.Anchor
		for range 1 + rand.IntN(40) {
			if !acknowledged.Scan() {
				t.Fatalf("round %d: the writer ended by itself", round)
			}
			if a, ok := cardbroker.FindAnchor(acknowledged.Text()); ok {
				anchors = append(anchors, a)
			}
		}
		writer.Process.Kill()
		for acknowledged.Scan() { // what it had said before
			if a, ok := cardbroker.FindAnchor(acknowledged.Text()); ok {
				anchors = append(anchors, a)
			}
		}
		writer.Wait()
		if len(anchors) == 0 {
			t.Fatalf("round %d: nothing was acknowledged: the test tests nothing", round)
		}
		report := verify(t, filepath.Join(dir, "audit"), append(anchors, last)...)
		if !report.OK || report.Anchors.Before > 0 {
			t.Fatalf("round %d: %+v %+v", round, report, report.Problem)
		}
		if report.Torn > 0 {
			repaired++
		}
		last = anchors[len(anchors)-1]
	}
	t.Logf("%d kills, %d torn lines, %d records acknowledged at least, none lost", crashRounds, repaired, last.Seq)
}

// writeUntilKilled records events and prints the head after each flush.
func writeUntilKilled(t *testing.T, dir string) {
	s, err := store.Open(filepath.Join(dir, "registry.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := audit.Open(t.Context(), audit.Config{Dir: filepath.Join(dir, "audit"), FileBytes: 50_000, Heads: s,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	group := run.New(t.Context())
	group.Go("log", l.Run)
	out := os.NewFile(1, "stdout")
	for {
		for i := range rand.IntN(200) {
			l.Record(nil, cardbroker.Event{Name: cardbroker.EventAgentRegistered, Detail: strings.Repeat("x", i)})
		}
		if err := l.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		status := l.Status()
		head, err := cardbroker.ParseAnchor(strconv.FormatUint(status.Seq, 10) + ":" + status.Hash)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.WriteString(head.String() + "\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk fills the disk under a log: nobody waits, nothing is lost that has room in memory, and it heals by itself.
func TestFullDisk(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		testenv.Skip(t, fmt.Sprintf("needs to mount a tmpfs: %v", err))
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	l := newLog(t, func(c *audit.Config) { c.Dir = filepath.Join(dir, "audit") })
	t.Cleanup(l.stop)
	l.write(3)
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	const more = 500
	begun := time.Now()
	for i := range more {
		l.Record(nil, cardbroker.Event{Name: cardbroker.EventAdmin, Detail: fmt.Sprintf("%d %s", i, strings.Repeat("x", 200))})
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("to record %d events with a full disk took %v", more, took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := l.Flush(ctx); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Flush() with a full disk = %v, want unavailable", err)
	}
	status := l.Status() // some may have found room in the file's last page
	if !strings.Contains(status.Failing, "no space") || status.Seq >= 3+more {
		t.Errorf("status %+v, want it to say so", status)
	}
	if report := verify(t, l.cfg.Dir); !report.OK || report.Last != status.Seq || report.Torn > 0 {
		t.Errorf("verify with a full disk: %+v, want it to end at %d", report, status.Seq)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for l.Flush(ctx) != nil { // it tries once a second
		if ctx.Err() != nil {
			t.Fatal("the log does not heal")
		}
	}
	if n := len(l.named(cardbroker.EventAdmin)); n != more || l.Status().Failing != "" || l.Status().Lost != 0 {
		t.Errorf("%d of %d events are there; status %+v", n, more, l.Status())
	}
	l.wantOK(l.head())
}
