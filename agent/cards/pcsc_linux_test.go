// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// pcscReader is the reader of the bed that the tests put their card into.
const pcscReader = "Bed 0 00 00"

// newBed starts a PC/SC service with a card in its first reader, and returns how a sandbox reaches it.
func newBed(t testing.TB) (context.Context, *pcscbed.Bed, cards.Config) {
	t.Helper()
	ctx, bed := pcscbed.New(t)
	return ctx, bed, cards.Config{
		Program: testenv.Sandbox(t, true),
		Args:    []string{"pcsc"},
		Env:     []string{"PCSCLITE_CSOCK_NAME=" + bed.Socket()},
	}
}

// runBeside runs a sandbox until the end of the test. Unlike newSandbox it does not mind the bed's processes.
func runBeside(t testing.TB, cfg cards.Config) *cards.Sandbox {
	t.Helper()
	if _, isTest := t.(*testing.T); isTest {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := cards.New(cfg)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
	return s
}

// TestPCSC runs the real sandbox on a real PC/SC service, with the deaths of both.
func TestPCSC(t *testing.T) {
	ctx, bed, cfg := newBed(t)
	s := runBeside(t, cfg)
	wants := watch(t, s)
	wants("Bed 0 00 00, Bed 0 00 01 (empty)")
	c := openCard(t, s, pcscReader)
	echoes := func(c *cards.Card) {
		t.Helper()
		got, _, err := c.Transmit(t.Context(), nil, echo)
		if err != nil || len(got) != 302 {
			t.Fatalf("echo = %d bytes, %v, want 302 (%s)", len(got), err, s.Status().LastExit)
		}
	}
	if info := c.Info(); info.Protocol != cardbroker.ProtocolT1 || !bytes.HasPrefix(info.ATR, []byte{0x3B, 0x8E}) {
		t.Errorf("Info() = %+v, want the software card's", info)
	}
	echoes(c)

	kill(t, s.Status().PID)
	eventually(t, "the card is lost with the sandbox", func() bool {
		_, _, err := c.Transmit(t.Context(), nil, echo)
		return err != nil
	})
	wants("Bed 0 00 00, Bed 0 00 01 (empty)")
	c = openCard(t, s, pcscReader)
	echoes(c)
	if st := s.Status(); st.Starts != 2 {
		t.Errorf("Status() = %+v, want a second child", st)
	}

	if err := bed.Remove(ctx, 0); err != nil {
		t.Fatal(err)
	}
	wants("Bed 0 00 00 (empty), Bed 0 00 01 (empty)")
	_, _, err := c.Transmit(t.Context(), nil, echo)
	wantReason(t, "Transmit to a card that is out", err, cardbroker.CardRemoved)
	c.Close(cardbroker.ResetCard)
	_, err = s.Open(t.Context(), pcscReader, cardbroker.ShareShared)
	wantReason(t, "Open without a card", err, cardbroker.CardAbsent)

	bed.Kill()
	wants("")
	if err := bed.StartService(ctx); err != nil {
		t.Fatal(err)
	}
	wants("Bed 0 00 00 (empty), Bed 0 00 01 (empty)")
	if err := bed.Insert(ctx, 0, pcscbed.Card{}); err != nil {
		t.Fatal(err)
	}
	wants("Bed 0 00 00, Bed 0 00 01 (empty)")
	echoes(openCard(t, s, pcscReader))
	if st := s.Status(); st.Starts != 2 || st.Kills != 0 {
		t.Errorf("Status() = %+v, want that the child outlived the service", st)
	}
}

// TestPCSCHangs: a call in C that takes too long ends with its process, also within a transaction. The service gives the
// card back when the command is over.
func TestPCSCHangs(t *testing.T) {
	_, _, cfg := newBed(t)
	cfg.CallLimit = 500 * time.Millisecond
	s := runBeside(t, cfg)
	c := openCard(t, s, pcscReader)
	if err := c.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Transmit(t.Context(), nil, []byte{0x80, 0xEF, 2000 >> 8, 2000 & 0xFF})
	wantReason(t, "Transmit of a command that takes 2 s", err, cardbroker.Indeterminate)
	eventually(t, "the card answers again", func() bool {
		c, err := s.Open(t.Context(), pcscReader, cardbroker.ShareShared)
		if err != nil {
			return false
		}
		defer c.Close(cardbroker.LeaveCard)
		_, _, err = c.Transmit(t.Context(), nil, echo)
		return err == nil
	})
	if st := s.Status(); st.Kills == 0 {
		t.Errorf("Status() = %+v, want a kill", st)
	}
}

// TestPCSCWithoutService: what there is not is Unavailable, and says where it was looked for.
func TestPCSCWithoutService(t *testing.T) {
	testenv.Tool(t, "gcc")
	socket := filepath.Join(t.TempDir(), "pcscd.comm")
	s := newSandbox(t, cards.Config{
		Program: testenv.Sandbox(t, true),
		Args:    []string{"pcsc"},
		Env:     []string{"PCSCLITE_CSOCK_NAME=" + socket},
	})
	_, err := s.Readers(t.Context())
	wantReason(t, "Readers()", err, cardbroker.Unavailable)
	if err != nil && !bytes.Contains([]byte(err.Error()), []byte(socket)) {
		t.Errorf("Readers() = %v, want the socket's path", err)
	}
}

// TestPCSCWithoutCgo: a program without cgo says so.
func TestPCSCWithoutCgo(t *testing.T) {
	s := newSandbox(t, cards.Config{Program: testenv.Sandbox(t, false), Args: []string{"pcsc"}})
	_, err := s.Readers(t.Context())
	wantReason(t, "Readers()", err, cardbroker.Unavailable)
	if err != nil && !bytes.Contains([]byte(err.Error()), []byte("without cgo")) {
		t.Errorf("Readers() = %v, want that cgo is missing", err)
	}
}

// BenchmarkPCSC measures 300 bytes to a card behind a real service and back, through the sandbox.
func BenchmarkPCSC(b *testing.B) {
	_, _, cfg := newBed(b)
	s := runBeside(b, cfg)
	c := openCard(b, s, pcscReader)
	buf := make([]byte, 0, 512)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if _, _, err := c.Transmit(b.Context(), buf, echo); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	report(b, took)
}
