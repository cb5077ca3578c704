// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package logs

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// socket listens for datagrams, as a system log does.
func socket(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func read(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	text := make([]byte, 4096)
	n, err := conn.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(text[:n])
}

func TestNotice(t *testing.T) {
	dir := t.TempDir()
	s := NewSystem("cardbroker")
	s.journal, s.syslog = filepath.Join(dir, "journal"), filepath.Join(dir, "syslog")
	if err := s.Notice("nobody listens"); err == nil {
		t.Error("Notice without a log = nil")
	}
	syslog := socket(t, s.syslog)
	if err := s.Notice("head seq=1\nforged"); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, syslog), fmt.Sprintf(" cardbroker[%d]: head seq=1 forged", os.Getpid()); !strings.HasPrefix(got, "<29>") || !strings.HasSuffix(got, want) {
		t.Errorf("syslog got %q, want an end like %q", got, want)
	}
	journal := socket(t, s.journal)
	if err := s.Notice("head seq=1\nPRIORITY=0"); err != nil {
		t.Fatal(err)
	}
	want := "MESSAGE=head seq=1 PRIORITY=0\nPRIORITY=5\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=cardbroker\n"
	if got := read(t, journal); got != want {
		t.Errorf("the journal got %q, want %q", got, want)
	}
}

// TestNoticeEnds fills a log that nobody reads: the program goes on.
func TestNoticeEnds(t *testing.T) {
	s := NewSystem("cardbroker")
	s.journal, s.syslog = filepath.Join(t.TempDir(), "journal"), filepath.Join(t.TempDir(), "none")
	socket(t, s.journal)
	for i := range 10000 {
		if s.Notice(strings.Repeat("x", 1000)) != nil {
			return
		}
		if i == 9999 {
			t.Error("a log that nobody reads takes everything: the test tests nothing")
		}
	}
}
