// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/audit"
	"github.com/cardbroker/cardbroker/internal/run"
)

// heads keeps a head in memory.
type heads struct {
	atomic.Pointer[cardbroker.Anchor]
}

func (h *heads) AuditHead(context.Context) (cardbroker.Anchor, error) {
	if a := h.Load(); a != nil {
		return *a, nil
	}
	return cardbroker.Anchor{}, nil
}

func (h *heads) KeepAuditHead(_ context.Context, a cardbroker.Anchor) error {
	h.Store(&a)
	return nil
}

// testLog is a log that is started and stopped like a broker's.
type testLog struct {
	t testing.TB
	*audit.Log
	cfg   audit.Config
	heads *heads
	group *run.Group
}

// newLog starts a log in a directory of its own.
func newLog(t testing.TB, change ...func(*audit.Config)) *testLog {
	l := &testLog{t: t, heads: &heads{}}
	l.cfg = audit.Config{Dir: filepath.Join(t.TempDir(), "audit"), Heads: l.heads, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for _, f := range change {
		f(&l.cfg)
	}
	l.start()
	t.Cleanup(l.stop)
	return l
}

func (l *testLog) start() {
	l.t.Helper()
	log, err := audit.Open(context.Background(), l.cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.Log, l.group = log, run.New(context.Background())
	l.group.Go("log", log.Run)
}

func (l *testLog) stop() {
	if l.group == nil {
		return
	}
	if err := l.group.Stop(); err != nil {
		l.t.Error(err)
	}
	l.group = nil
}

func (l *testLog) restart() {
	l.t.Helper()
	l.stop()
	l.start()
}

// flush waits until all is on the disk.
func (l *testLog) flush() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := l.Flush(ctx); err != nil {
		l.t.Fatal(err)
	}
}

// write records n events of different kinds and waits for them.
func (l *testLog) write(n int) {
	l.t.Helper()
	for i := range n {
		switch key := agent(1000+uint32(i%3), "7"); i % 4 {
		case 0:
			l.Record(nil, cardbroker.Event{Name: cardbroker.EventCertificateLoaded, Detail: fmt.Sprint(i)})
		case 1:
			l.Record(&key, cardbroker.Event{Name: cardbroker.EventAgentRegistered})
		default:
			l.Say(key, api.Event{Time: time.Now(), Event: cardbroker.Event{Name: cardbroker.EventTunnelOpened, Tenant: "issuer", Reader: "ACS 00 00"}})
		}
	}
	l.flush()
}

// head returns the head as the log tells it.
func (l *testLog) head() cardbroker.Anchor {
	l.t.Helper()
	status := l.Status()
	head, err := cardbroker.ParseAnchor(fmt.Sprintf("%d:%s", status.Seq, status.Hash))
	if err != nil {
		l.t.Fatal(err)
	}
	return head
}

// records returns all that is in the log.
func (l *testLog) records() (records []audit.Record) {
	l.t.Helper()
	err := audit.Reader{Dir: l.cfg.Dir}.Each(context.Background(), func(line audit.Line) error {
		records = append(records, line.Record)
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return records
}

// named returns the records of one event.
func (l *testLog) named(name cardbroker.EventName) []audit.Record {
	l.t.Helper()
	return slices.DeleteFunc(l.records(), func(r audit.Record) bool { return r.Name != name })
}

// wantOK verifies the log.
func (l *testLog) wantOK(anchors ...cardbroker.Anchor) audit.Report {
	l.t.Helper()
	report := verify(l.t, l.cfg.Dir, anchors...)
	if !report.OK {
		l.t.Fatalf("the log is not in order: %+v", *report.Problem)
	}
	return report
}

func verify(t testing.TB, dir string, anchors ...cardbroker.Anchor) audit.Report {
	t.Helper()
	report, err := audit.Verify{Dir: dir, Anchors: anchors}.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func agent(uid uint32, session cardbroker.SessionID) cardbroker.AgentKey {
	return cardbroker.AgentKey{User: cardbroker.UserID{UID: uid}, Session: session}
}

// files returns what is in the log's files, by name.
func files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	content := make(map[string][]byte)
	for _, path := range paths {
		if content[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return content
}

// lay puts files into a new directory.
func lay(t testing.TB, content map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, content)
	return dir
}

// put makes a directory hold these files and no others of a log.
func put(t testing.TB, dir string, content map[string][]byte) {
	t.Helper()
	for name := range files(t, dir) {
		if content[name] == nil {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// lineEnds returns the offsets behind each newline.
func lineEnds(text []byte) (ends []int) {
	for i, c := range text {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	return ends
}

// splitLines returns lines with their newlines.
func splitLines(text []byte) [][]byte {
	lines := bytes.SplitAfter(text, []byte("\n"))
	return lines[:len(lines)-1]
}
