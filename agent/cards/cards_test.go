// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// newSandbox runs a sandbox until the end of the test.
func newSandbox(t testing.TB, cfg cards.Config, fake ...string) *cards.Sandbox {
	t.Helper()
	s, stop := startSandbox(t, cfg, fake...)
	t.Cleanup(stop)
	return s
}

// startSandbox runs a sandbox whose child is this program's fake, unless cfg says otherwise. stop ends it and checks that
// nothing is left.
func startSandbox(t testing.TB, cfg cards.Config, fake ...string) (s *cards.Sandbox, stop func()) {
	t.Helper()
	if runtime.GOOS != "linux" {
		testenv.Skip(t, "no sandbox on this system yet")
	}
	if cfg.Program == "" {
		program, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cfg.Program, cfg.Args = program, append([]string{"fake"}, fake...)
	}
	if _, isTest := t.(*testing.T); isTest && cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	settled := testenv.Leaks(t)
	ctx, cancel := context.WithCancel(context.Background())
	s = cards.New(cfg)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		if hasChild() {
			t.Error("a child is left")
		}
		settled()
	}
}

// kill is what anybody may do to the child.
func kill(t testing.TB, pid int) {
	t.Helper()
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Kill()
		process.Release()
	}
	if err != nil {
		t.Fatalf("cannot kill the child: %v", err)
	}
}

// eventually waits up to 20 s for what has no event to wait for.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("waited 20 s in vain: %s", what)
			return
		}
	}
}

func openCard(t testing.TB, s *cards.Sandbox, reader string) *cards.Card {
	t.Helper()
	c, err := s.Open(t.Context(), reader, cardbroker.ShareShared)
	if err != nil {
		t.Fatalf("Open(%q) = %v, want no error", reader, err)
	}
	return c
}

// command returns a command of 300 bytes for the fake.
func command(ins, p1 byte) []byte {
	c := make([]byte, 300)
	c[1], c[2] = ins, p1
	for i := 4; i < len(c); i++ {
		c[i] = byte(i)
	}
	return c
}

func transmit(t testing.TB, c *cards.Card, ins, p1 byte) error {
	t.Helper()
	_, _, err := c.Transmit(t.Context(), nil, command(ins, p1))
	return err
}

func wantReason(t testing.TB, what string, err error, want cardbroker.Reason) {
	t.Helper()
	if got := cardbroker.ReasonOf(err); got != want {
		t.Errorf("%s = %v, want the reason %q", what, err, want)
	}
}

func names(readers []cardbroker.Reader) string {
	var all []string
	for _, r := range readers {
		name := r.Name
		if r.Card == nil {
			name += " (empty)"
		}
		all = append(all, name)
	}
	return strings.Join(all, ", ")
}

func TestReadersStartTheChild(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	if got := s.Snapshot(); got != nil {
		t.Errorf("Snapshot() before = %v, want none", got)
	}
	readers, err := s.Readers(t.Context())
	if err != nil || names(readers) != "fake 0, fake 1, fake 2, fake 3" {
		t.Fatalf("Readers() = %v, %v, want the four", names(readers), err)
	}
	if r := readers[1]; !r.PINPad || r.Card.Protocol != cardbroker.ProtocolT1 || !bytes.Equal(r.Card.ATR, fakeCard.ATR) {
		t.Errorf("reader 1 = %+v %+v, want a PIN pad and the fake's card", r, r.Card)
	}
	if st := s.Status(); st.Starts != 1 || st.PID == 0 || st.Kills != 0 {
		t.Errorf("Status() = %+v, want one start", st)
	}
}

func TestTransmit(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	c := openCard(t, s, "fake 2")
	if info := c.Info(); !bytes.Equal(info.ATR, fakeCard.ATR) {
		t.Errorf("Info() = %v, want the fake's card", info)
	}
	for _, size := range []int{4, 5, 300, 1024, 65544 - 8} {
		cmd := bytes.Repeat([]byte{byte(size)}, size)
		cmd[1] = insEcho
		got, _, err := c.Transmit(t.Context(), []byte("before"), cmd)
		if want := "before" + string(cmd) + "\x90\x00"; err != nil || string(got) != want {
			t.Errorf("Transmit(%d bytes) = %d bytes, %v, want %d", size, len(got), err, len(want))
		}
	}
	for _, size := range []int{0, 3, 65545} {
		got, _, err := c.Transmit(t.Context(), []byte("before"), make([]byte, size))
		wantReason(t, fmt.Sprintf("Transmit(%d bytes)", size), err, cardbroker.Invalid)
		if string(got) != "before" {
			t.Errorf("Transmit(%d bytes) = %q, want dst as it was", size, got)
		}
	}
	if err := c.Begin(t.Context()); err != nil {
		t.Errorf("Begin() = %v", err)
	}
	if err := c.End(t.Context(), cardbroker.LeaveCard); err != nil {
		t.Errorf("End() = %v", err)
	}
	if err := c.Close(cardbroker.ResetCard); err != nil {
		t.Errorf("Close() = %v", err)
	}
	wantReason(t, "Transmit after Close", transmit(t, c, insEcho, 0), cardbroker.CardReset)
	if err := c.Close(cardbroker.ResetCard); err != nil {
		t.Errorf("second Close() = %v", err)
	}
}

func TestCardTime(t *testing.T) {
	c := openCard(t, newSandbox(t, cards.Config{}), "fake 0")
	_, took, err := c.Transmit(t.Context(), nil, command(insSlow, 2))
	if err != nil || took < 20*time.Millisecond || took > 10*time.Second {
		t.Errorf("Transmit() took %v, %v, want the card's 20 ms", took, err)
	}
}

func TestOpenErrors(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	_, err := s.Open(t.Context(), "none", cardbroker.ShareShared)
	wantReason(t, "Open of an unknown reader", err, cardbroker.ReaderUnknown)
	c := openCard(t, s, "fake 0")
	_, err = s.Open(t.Context(), "fake 0", cardbroker.ShareShared)
	wantReason(t, "Open of an open reader", err, cardbroker.ReaderBusy)
	c.Close(cardbroker.LeaveCard)
	openCard(t, s, "fake 0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Open(ctx, "fake 1", cardbroker.ShareShared)
	wantReason(t, "Open with an ended ctx", err, cardbroker.Canceled)
	openCard(t, s, "fake 1")
}

// An asker that leaves during Connect leaves no connection behind.
func TestOpenLeft(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	s.Readers(t.Context())
	asked := time.Now()
	c, err := s.Open(testenv.Patience(t.Context(), 20*time.Millisecond), "fake 0", cardbroker.ShareDirect)
	if time.Since(asked) < connectTakes {
		wantReason(t, "Open", err, cardbroker.Timeout)
	} else if err == nil {
		c.Close(cardbroker.LeaveCard)
	}
	eventually(t, "the reader can be opened again", func() bool {
		_, err := s.Open(t.Context(), "fake 0", cardbroker.ShareShared)
		return err == nil
	})
	if st := s.Status(); st.Starts != 1 {
		t.Errorf("Status() = %+v, want no restart", st)
	}
}

func TestManyReaders(t *testing.T) {
	readers, err := newSandbox(t, cards.Config{}, "many").Readers(t.Context())
	if err != nil || len(readers) != 15 {
		t.Errorf("Readers() = %d readers, %v, want the 15 that fit", len(readers), err)
	}
}

func TestParallelReaders(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	var wg sync.WaitGroup
	for n := range 4 {
		c := openCard(t, s, fmt.Sprint("fake ", n))
		wg.Go(func() {
			buf := make([]byte, 0, 512)
			cmd := command(insEcho, byte(n))
			for i := range 1000 {
				cmd[4], cmd[5] = byte(i), byte(i>>8)
				got, _, err := c.Transmit(t.Context(), buf, cmd)
				if err != nil || !bytes.Equal(got[:len(cmd)], cmd) {
					t.Errorf("reader %d, command %d: %v", n, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// watch subscribes, and returns a function that waits until the readers are as it is told.
func watch(t *testing.T, s *cards.Sandbox) (want func(list string)) {
	changed, stop := s.Watch()
	t.Cleanup(stop)
	return func(list string) {
		t.Helper()
		for names(s.Snapshot()) != list {
			select {
			case <-changed:
			case <-time.After(20 * time.Second):
				t.Fatalf("Snapshot() = %q, want %q", names(s.Snapshot()), list)
			}
		}
	}
}

func TestEvents(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	want := watch(t, s)
	want("fake 0, fake 1, fake 2, fake 3")
	c := openCard(t, s, "fake 1")
	transmit(t, c, insRemove, 0)
	want("fake 0, fake 1 (empty), fake 2, fake 3")
	transmit(t, c, insUnplug, 0)
	want("fake 0, fake 2, fake 3")
	pid := s.Status().PID
	kill(t, pid)
	want("")
	want("fake 0, fake 1, fake 2, fake 3")
	if st := s.Status(); st.Starts != 2 || st.PID == pid {
		t.Errorf("Status() = %+v, want a second child: somebody subscribes", st)
	}
}

func TestEpochs(t *testing.T) {
	before := uint64(time.Now().UnixMicro())
	s := newSandbox(t, cards.Config{})
	c := openCard(t, s, "fake 0")
	last := c.Epoch()
	if last < before {
		t.Errorf("Epoch() = %d, want one above earlier agents' %d", last, before)
	}
	step := func(what string, rises bool) {
		t.Helper()
		if now := c.Epoch(); (now > last) != rises {
			t.Errorf("Epoch() after %s = %d, was %d; want a rise: %v", what, now, last, rises)
		}
		last = c.Epoch()
	}
	transmit(t, c, insEcho, 0)
	step("a command", false)
	c.End(t.Context(), cardbroker.LeaveCard)
	step("End that leaves the card", false)
	c.End(t.Context(), cardbroker.ResetCard)
	step("End that resets the card", true)
	wantReason(t, "Transmit", transmit(t, c, insReset, 0), cardbroker.CardReset)
	step("a reset by others", true)
	c.Close(cardbroker.LeaveCard)
	c = openCard(t, s, "fake 0")
	step("a new connection", true)
}

// What a reader can do besides its card goes the way of a command; one that hangs may have reached the card.
func TestReaderFunctions(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	c := openCard(t, s, "fake 0")
	got, err := c.Control(t.Context(), []byte("before "), 2, []byte("input"))
	if err != nil || string(got) != "before input" {
		t.Errorf("Control() = %q, %v, want the input", got, err)
	}
	_, err = c.Attribute(t.Context(), 7)
	wantReason(t, "Attribute()", err, cardbroker.Unsupported)
	s.LimitCalls(hangLimit)
	got, err = c.Control(t.Context(), []byte("before"), 1, nil)
	wantReason(t, "Control() that hangs", err, cardbroker.Indeterminate)
	if string(got) != "before" {
		t.Errorf("Control() that hangs = %q, want dst as it was", got)
	}
}

// Forbidden readers are nobody's, also of those who use them or wait for them; allowed again, they are there as before.
func TestForbid(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	c := openCard(t, s, "fake 0")
	changed, stop := s.Watch()
	defer stop()
	why := cardbroker.Errorf(cardbroker.ReaderSharedHost, "others are here")
	if err := s.Forbid(why); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child ends", func() bool { return s.Status().PID == 0 })
	<-changed
	if n := len(s.Snapshot()); n != 0 {
		t.Errorf("%d readers are shown, want none", n)
	}
	wantReason(t, "Transmit()", transmit(t, c, insEcho, 0), cardbroker.CardReset)
	_, err := s.Readers(t.Context())
	wantReason(t, "Readers()", err, cardbroker.ReaderSharedHost)
	_, err = s.Open(t.Context(), "fake 0", cardbroker.ShareShared)
	wantReason(t, "Open()", err, cardbroker.ReaderSharedHost)
	if starts := s.Status().Starts; starts != 1 {
		t.Errorf("%d children were started, want 1: a subscriber is no reason to", starts)
	}
	if err := s.Forbid(nil); err != nil {
		t.Fatal(err)
	}
	c.Close(cardbroker.LeaveCard)
	wantReason(t, "Transmit() again", transmit(t, openCard(t, s, "fake 0"), insEcho, 0), "")
}
