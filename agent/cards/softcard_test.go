// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// softReader is the name of the software reader.
const softReader = "cardbroker Software Reader 00 00"

// echo is a command of the software card that answers its own 300 bytes: extended length, no Le.
var echo = append([]byte{0x80, 0xEE, 0, 0, 0, 300 >> 8, 300 & 0xFF}, bytes.Repeat([]byte{0x5A}, 300)...)

func TestSoftwareCard(t *testing.T) {
	program := testenv.Sandbox(t, false)
	s := newSandbox(t, cards.Config{Program: program, Args: []string{"softcard"}})
	readers, err := s.Readers(t.Context())
	if err != nil || names(readers) != softReader {
		t.Fatalf("Readers() = %v, %v, want %q", names(readers), err, softReader)
	}
	c := openCard(t, s, softReader)
	sel := []byte{0x00, 0xA4, 0x04, 0x00, 0x05, 0xA0, 0x00, 0x00, 0x03, 0x08, 0x00}
	got, _, err := c.Transmit(t.Context(), nil, sel)
	if err != nil || !bytes.HasSuffix(got, []byte{0x90, 0x00}) {
		t.Errorf("SELECT PIV = %x, %v, want 9000 (%s)", got, err, s.Status().LastExit)
	}
	if got, _, err = c.Transmit(t.Context(), nil, echo); err != nil || len(got) != 302 {
		t.Errorf("echo = %d bytes, %v, want 302", len(got), err)
	}
	kill(t, s.Status().PID)
	eventually(t, "the card answers again", func() bool {
		c, err := s.Open(t.Context(), softReader, 2)
		if err == nil {
			got, _, err = c.Transmit(t.Context(), nil, sel)
			c.Close(0)
		}
		return err == nil
	})
}

// The child gives up what it does not need.
func TestHardening(t *testing.T) {
	program := testenv.Sandbox(t, false)
	s := newSandbox(t, cards.Config{Program: program, Args: []string{"softcard"}})
	if _, err := s.Readers(t.Context()); err != nil {
		t.Fatal(err)
	}
	proc := fmt.Sprintf("/proc/%d/", s.Status().PID)
	limits, _ := os.ReadFile(proc + "limits")
	for _, want := range []string{`Max core file size +0 +0 `, `Max open files +256 +256 `, `Max file size +16777216 +16777216 `} {
		if !regexp.MustCompile(want).Match(limits) {
			t.Errorf("limits = %s\nwant a line %q", limits, want)
		}
	}
	threads, _ := filepath.Glob(proc + "task/*/status")
	for _, thread := range threads {
		status, _ := os.ReadFile(thread)
		for _, want := range []string{"NoNewPrivs:\t1\n", "Seccomp:\t2\n"} { // 2: by a filter
			if !bytes.Contains(status, []byte(want)) {
				t.Errorf("%s does not say %q", thread, want)
			}
		}
	}
	if len(threads) == 0 {
		t.Error("the child has no threads, want some")
	}
}

// A confined card keeps its state in its file, and sees no other.
func TestSoftwareCardFile(t *testing.T) {
	program, dir := testenv.Sandbox(t, false), t.TempDir()
	file := filepath.Join(dir, "card.json")
	s := newSandbox(t, cards.Config{Program: program, Args: []string{"softcard", file}})
	wrong := []byte("\x00\x20\x00\x80\x08000000\xFF\xFF")
	for _, want := range []string{"\x63\xC2", "\x63\xC1"} {
		c := openCard(t, s, softReader)
		for _, command := range [][]byte{[]byte("\x00\xA4\x04\x00\x05\xA0\x00\x00\x03\x08\x00"), wrong} {
			got, _, err := c.Transmit(t.Context(), nil, command)
			if err != nil || command[1] == 0x20 && string(got) != want {
				t.Fatalf("Transmit(%x) = %x, %v, want %x (%s)", command, got, err, want, s.Status().LastExit)
			}
		}
		pid := s.Status().PID
		kill(t, pid)
		eventually(t, "the child is gone", func() bool { return s.Status().PID != pid })
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the card's file: %v", err)
	}

	if landlock() == 0 {
		testenv.Skip(t, "needs a kernel with Landlock")
	}
	elsewhere := filepath.Join(dir, "elsewhere", "card.json")
	if err := os.Mkdir(filepath.Dir(elsewhere), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, elsewhere); err != nil {
		t.Fatal(err)
	}
	s = newSandbox(t, cards.Config{Program: program, Args: []string{"softcard", elsewhere}})
	if _, err := s.Readers(t.Context()); err == nil || !strings.Contains(s.Status().LastExit, "cannot be opened") {
		t.Errorf("Readers() with a file in another directory = %v (%s), want that it cannot be opened", err, s.Status().LastExit)
	}
}

// What the child says of its confinement is told, and is no complaint.
func TestConfinementIsTold(t *testing.T) {
	var out bytes.Buffer
	cfg := cards.Config{Program: testenv.Sandbox(t, false), Args: []string{"softcard"}, Log: slog.New(slog.NewTextHandler(&out, nil))}
	s, stop := startSandbox(t, cfg)
	if _, err := s.Readers(t.Context()); err != nil {
		t.Fatal(err)
	}
	kill(t, s.Status().PID)
	eventually(t, "the child has ended", func() bool { return s.Status().LastExit != "" })
	if got := s.Status().LastExit; got != "signal: killed" {
		t.Errorf("LastExit = %q, want no last words", got)
	}
	stop()
	if landlock() < 6 {
		testenv.Skip(t, "needs a kernel with Landlock of version 6")
	}
	if want := `level=INFO msg="sandbox says" status="msg=confined landlock=`; !strings.Contains(out.String(), want) {
		t.Errorf("the log is %s\nwant a line %s", out.String(), want)
	}
	if strings.Contains(out.String(), "level=WARN") {
		t.Errorf("the log is %s\nwant no warning", out.String())
	}
}

func TestStartedByHand(t *testing.T) {
	program := testenv.Sandbox(t, false)
	tests := map[string]struct {
		args   []string
		status int
		want   string
	}{
		"no argument":     {nil, 2, "not started by hand"},
		"softcard":        {[]string{"softcard"}, 2, "not started by hand"},
		"two files":       {[]string{"softcard", "a", "b"}, 2, "not started by hand"},
		"PC/SC":           {[]string{"pcsc"}, 2, "not started by hand"},
		"PC/SC with more": {[]string{"pcsc", "a"}, 2, "not started by hand"},
		"PKCS#11":         {[]string{"pkcs11", "/usr/lib/module.so"}, 2, "not started by hand"},
		"relative module": {[]string{"pkcs11", "module.so"}, 2, "not started by hand"},
		"without module":  {[]string{"pkcs11"}, 2, "not started by hand"},
		"unknown command": {[]string{"serve"}, 2, "not started by hand"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(program, test.args...)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != test.status || !bytes.Contains(out, []byte(test.want)) {
				t.Errorf("cardsandbox %q = %d, %s, want %d and %q", test.args, got, out, test.status, test.want)
			}
		})
	}
}

// BenchmarkHop measures 300 bytes there and back, with an asker who stays and with one who may leave.
func BenchmarkHop(b *testing.B) {
	cancellable, cancel := context.WithCancel(context.Background())
	defer cancel()
	for name, ctx := range map[string]context.Context{"stays": context.Background(), "may leave": cancellable} {
		b.Run(name, func(b *testing.B) {
			s, stop := startSandbox(b, cards.Config{})
			defer stop()
			c := openCard(b, s, "fake 0")
			cmd, buf := command(insEcho, 0), make([]byte, 0, 512)
			took := make([]time.Duration, 0, 1<<20)
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				if _, _, err := c.Transmit(ctx, buf, cmd); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			report(b, took)
		})
	}
}

// report adds the quantiles that goals are about.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	for _, q := range []int{50, 99} {
		b.ReportMetric(float64(took[(len(took)-1)*q/100].Microseconds()), fmt.Sprintf("p%d-µs", q))
	}
}

// BenchmarkStart measures from nothing to the list of readers.
func BenchmarkStart(b *testing.B) {
	cfg := cards.Config{Program: testenv.Sandbox(b, false), Args: []string{"softcard"}}
	var took []time.Duration
	for b.Loop() {
		s, stop := startSandbox(b, cfg)
		start := time.Now()
		if _, err := s.Readers(b.Context()); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		stop()
	}
	report(b, took)
}

// BenchmarkKillToAPDU measures from the child's death to the next good APDU.
func BenchmarkKillToAPDU(b *testing.B) {
	cfg := cards.Config{Program: testenv.Sandbox(b, false), Args: []string{"softcard"}}
	var took []time.Duration
	for b.Loop() {
		s, stop := startSandbox(b, cfg)
		c := openCard(b, s, softReader)
		start := time.Now()
		kill(b, s.Status().PID)
		for err := error(nil); err == nil; { // the kill is not instant
			_, _, err = c.Transmit(b.Context(), nil, echo)
		}
		if _, _, err := openCard(b, s, softReader).Transmit(b.Context(), nil, echo); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		stop()
	}
	report(b, took)
}
