// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

func TestKilledInTransmit(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	c, other := openCard(t, s, "fake 0"), openCard(t, s, "fake 1")
	want := watch(t, s)
	ended := make(chan error, 1)
	go func() { ended <- transmit(t, c, insHang, 0) }()
	want("fake 0 (empty), fake 1, fake 2, fake 3")
	kill(t, s.Status().PID)
	wantReason(t, "Transmit", <-ended, cardbroker.Indeterminate)
	for _, c := range []*cards.Card{c, other} {
		wantReason(t, "Transmit after the death", transmit(t, c, insEcho, 0), cardbroker.CardReset)
	}
	wantReason(t, "Begin after the death", c.Begin(t.Context()), cardbroker.CardReset)
	old := c.Epoch()
	if err := c.Close(cardbroker.ResetCard); err != nil {
		t.Errorf("Close() after the death = %v, want nil", err)
	}
	c = openCard(t, s, "fake 0")
	if err := transmit(t, c, insEcho, 0); err != nil {
		t.Errorf("Transmit after the restart = %v", err)
	}
	if c.Epoch() <= old {
		t.Errorf("Epoch() = %d after %d, want a rise", c.Epoch(), old)
	}
	if st := s.Status(); st.Starts != 2 || st.Kills != 0 || st.LastExit != "signal: killed" {
		t.Errorf("Status() = %+v, want two starts and no kill of ours", st)
	}
}

// Who asks for a connection and meets a dying child gets the next one.
func TestKilledInOpen(t *testing.T) {
	asked := filepath.Join(t.TempDir(), "asked")
	s := newSandbox(t, cards.Config{}, "hangs once", asked)
	s.Readers(t.Context())
	pid := s.Status().PID
	var killed sync.WaitGroup
	killed.Go(func() {
		eventually(t, "the child is asked", func() bool { _, err := os.Stat(asked); return err == nil })
		kill(t, pid)
	})
	c, err := s.Open(t.Context(), "fake 0", cardbroker.ShareDirect)
	killed.Wait()
	if err != nil {
		t.Fatalf("Open() = %v, want no error", err)
	}
	if err := transmit(t, c, insEcho, 0); err != nil || s.Status().Starts != 2 {
		t.Errorf("Transmit = %v, %d starts, want 2", err, s.Status().Starts)
	}
}

func TestCrashInTransmit(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	c := openCard(t, s, "fake 0")
	before := c.Epoch()
	wantReason(t, "Transmit", transmit(t, c, insExit, 0), cardbroker.Indeterminate)
	if c.Epoch() <= before {
		t.Errorf("Epoch() = %d after %d, want a rise", c.Epoch(), before)
	}
	openCard(t, s, "fake 0")
	if got := s.Status().LastExit; got != "exit status 7 (the vendor's last words)" {
		t.Errorf("LastExit = %q, want status and last line", got)
	}
}

// hangLimit is how long calls may take that hang. The others may take longer, as they do on a busy machine.
const hangLimit = 300 * time.Millisecond

func TestHungCallIsKilled(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	c := openCard(t, s, "fake 0")
	s.LimitCalls(hangLimit)
	wantReason(t, "Transmit", transmit(t, c, insHang, 0), cardbroker.Indeterminate)
	s.LimitCalls(time.Minute)
	openCard(t, s, "fake 0")
	if st := s.Status(); st.Kills != 1 || st.LastExit != "killed: it did not answer in time" {
		t.Errorf("Status() = %+v, want a kill", st)
	}
}

// An asker that left must not keep a hung child alive.
func TestHungCallWithoutAsker(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	c := openCard(t, s, "fake 0")
	s.LimitCalls(hangLimit)
	asked := time.Now()
	want := watch(t, s)
	ctx, leave := testenv.Leaver(t.Context(), context.DeadlineExceeded)
	answered := make(chan error, 1)
	go func() {
		_, _, err := c.Transmit(ctx, nil, command(insHang, 0))
		answered <- err
	}()
	want("fake 0 (empty), fake 1, fake 2, fake 3")
	leave()
	err := <-answered
	if meanwhile := transmit(t, c, insEcho, 0); time.Since(asked) < hangLimit { // else it may be killed by now
		wantReason(t, "Transmit", err, cardbroker.Timeout)
		wantReason(t, "Transmit meanwhile", meanwhile, cardbroker.ReaderBusy)
	}
	eventually(t, "the child is killed", func() bool { return s.Status().Kills == 1 })
	s.LimitCalls(time.Minute)
	openCard(t, s, "fake 0")
}

// leaves sends a command that takes the card of "fake 0" so long, and leaves for that reason once the card has it.
func leaves(t *testing.T, s *cards.Sandbox, c *cards.Card, slow time.Duration, why error) error {
	t.Helper()
	want := watch(t, s)
	ctx, leave := testenv.Leaver(t.Context(), why)
	answered := make(chan error, 1)
	go func() {
		_, _, err := c.Transmit(ctx, nil, command(insLate, byte(slow/(10*time.Millisecond))))
		answered <- err
	}()
	want("fake 0 (empty), fake 1, fake 2, fake 3")
	leave()
	return <-answered
}

func TestLateAnswer(t *testing.T) {
	tests := map[string]struct {
		why  error
		want cardbroker.Reason
	}{
		"deadline":  {context.DeadlineExceeded, cardbroker.Timeout},
		"cancelled": {context.Canceled, cardbroker.Canceled},
	}
	const slow = 200 * time.Millisecond
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t, cards.Config{})
			c := openCard(t, s, "fake 0")
			asked := time.Now()
			err := leaves(t, s, c, slow, test.why)
			if meanwhile := transmit(t, c, insEcho, 0); time.Since(asked) < slow { // else it may have answered by now
				wantReason(t, "Transmit", err, test.want)
				wantReason(t, "Transmit meanwhile", meanwhile, cardbroker.ReaderBusy)
			}
			eventually(t, "the card answers again, and what was asked", func() bool {
				got, _, err := c.Transmit(t.Context(), nil, command(insEcho, 7))
				return err == nil && got[1] == insEcho && got[2] == 7
			})
			if st := s.Status(); st.Starts != 1 {
				t.Errorf("Status() = %+v, want no restart", st)
			}
		})
	}
}

// Close waits for the answer that its asker did not wait for, so that the card is disposed of and free afterwards.
func TestCloseBehindLateAnswer(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	c := openCard(t, s, "fake 0")
	const slow = 100 * time.Millisecond
	asked := time.Now()
	err := leaves(t, s, c, slow, context.DeadlineExceeded)
	if time.Since(asked) < slow {
		wantReason(t, "Transmit", err, cardbroker.Timeout)
	}
	if err := c.Close(cardbroker.ResetCard); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if err := transmit(t, openCard(t, s, "fake 0"), insEcho, 0); err != nil {
		t.Errorf("Transmit = %v", err)
	}
}

func TestIdleStop(t *testing.T) {
	s := newSandbox(t, cards.Config{Idle: 50 * time.Millisecond})
	c := openCard(t, s, "fake 0")
	if err := transmit(t, c, insSlow, 20); err != nil {
		t.Errorf("Transmit = %v: an open card keeps the child", err)
	}
	changed, stop := s.Watch()
	c.Close(cardbroker.LeaveCard)
	select {
	case <-changed:
		t.Errorf("the readers changed to %v while somebody subscribed", names(s.Snapshot()))
	case <-time.After(200 * time.Millisecond):
	}
	stop()
	stop()
	eventually(t, "the idle child ends", func() bool { return s.Status().PID == 0 })
	if st := s.Status(); st.Kills != 0 || st.LastExit != "exit status 0" || s.Snapshot() != nil {
		t.Errorf("Status() = %+v, want a regular end", st)
	}
	if err := transmit(t, openCard(t, s, "fake 0"), insEcho, 0); err != nil {
		t.Errorf("Transmit after the idle stop = %v", err)
	}
}

func TestChildThatCannotStart(t *testing.T) {
	s := newSandbox(t, cards.Config{}, "crash")
	for n := range 3 {
		_, err := s.Readers(t.Context())
		wantReason(t, "Readers()", err, cardbroker.Unavailable)
		if !strings.Contains(err.Error(), "exit status 3 (fake: no driver [2J here)") || strings.Contains(err.Error(), "next try") {
			t.Errorf("Readers() = %v, want the child's last line", err)
		}
		if st := s.Status(); st.Starts != uint64(n+1) {
			t.Errorf("Starts = %d, want %d", st.Starts, n+1)
		}
	}
	fourth := time.Now()
	for range 3 { // now with a pause: one start only
		_, err := s.Readers(t.Context())
		if st := s.Status(); (st.Starts != 4 || !strings.Contains(err.Error(), "next try in 250ms")) && time.Since(fourth) < 250*time.Millisecond {
			t.Errorf("Readers() = %v after %d starts, want when it is tried again", err, st.Starts)
		}
	}
	before := s.Status().Starts
	_, stop := s.Watch()
	eventually(t, "a subscriber has it started again", func() bool { return s.Status().Starts > before })
	stop()
}

// TestAskedAfterManyDeaths: a PC/SC service that was away for a minute had the next user wait for half a minute more.
func TestAskedAfterManyDeaths(t *testing.T) {
	s := newSandbox(t, cards.Config{}, "crash")
	start := time.Now()
	var pauses []time.Duration // before each start; not what it took, which may be long on a busy machine
	for ended := start; len(pauses) < 9 && time.Since(start) < time.Minute; <-time.After(time.Millisecond) {
		asked := time.Now()
		_, err := s.Readers(t.Context())
		wantReason(t, "Readers()", err, cardbroker.Unavailable)
		if s.Status().Starts > uint64(len(pauses)) {
			pauses, ended = append(pauses, asked.Sub(ended)), time.Now()
		}
	}
	if took := time.Since(start); len(pauses) < 9 || took < 3750*time.Millisecond || min(pauses[7], pauses[8]) > 1900*time.Millisecond {
		t.Errorf("%d starts took %v with the pauses %v, want 0.25, 0.5, 1, 1 and 1 s between the last of 9: not 2 and 4, as who does not ask has", len(pauses), took, pauses)
	}
	if _, err := s.Readers(t.Context()); err == nil || !strings.Contains(err.Error(), "next try in 1s") {
		t.Errorf("Readers() = %v, want when it is tried again", err)
	}
}

func TestGarbageIsKilled(t *testing.T) {
	s := newSandbox(t, cards.Config{}, "garbage")
	_, err := s.Readers(t.Context())
	wantReason(t, "Readers()", err, cardbroker.Unavailable)
	if st := s.Status(); st.Kills != 1 {
		t.Errorf("Status() = %+v, want a kill", st)
	}
}

// A child that breaks the protocol is not to be relied on: it is killed, and the call says so.
func TestLiarIsKilled(t *testing.T) {
	for _, how := range []string{
		"stream twice", "name twice", "number twice", "unknown reader", "payload of an event", "answer to nothing",
		"number of an answer", "type of an answer", "payload of an answer", "payload of an error", "end of a stream",
	} {
		t.Run(how, func(t *testing.T) {
			s := newSandbox(t, cards.Config{}, "liar", how)
			_, err := s.Open(t.Context(), "fake 0", cardbroker.ShareShared)
			wantReason(t, "Open", err, cardbroker.Unavailable)
			eventually(t, "the child is killed", func() bool { return s.Status().Kills > 0 })
		})
	}
}

// Of a crash the first line counts, not the end of the stack trace.
func TestPanic(t *testing.T) {
	_, err := newSandbox(t, cards.Config{}, "panic").Readers(t.Context())
	if !strings.Contains(err.Error(), "exit status 2 (panic: the driver is mad)") {
		t.Errorf("Readers() = %v, want the panic", err)
	}
}

// Whoever waits when the agent ends is told, and what comes later too.
func TestEndOfRun(t *testing.T) {
	s, stop := startSandbox(t, cards.Config{})
	c := openCard(t, s, "fake 0")
	want := watch(t, s)
	ended := make(chan error, 1)
	go func() { ended <- transmit(t, c, insHang, 0) }()
	want("fake 0 (empty), fake 1, fake 2, fake 3")
	stop()
	wantReason(t, "Transmit at the end", <-ended, cardbroker.Indeterminate)
	wantReason(t, "Transmit after the end", transmit(t, c, insEcho, 0), cardbroker.CardReset)
	if err := c.Close(cardbroker.LeaveCard); err != nil {
		t.Errorf("Close() after the end = %v", err)
	}
	_, err := s.Readers(t.Context())
	wantReason(t, "Readers() after the end", err, cardbroker.Unavailable)
	if got := s.Snapshot(); got != nil {
		t.Errorf("Snapshot() after the end = %v, want none", got)
	}
}

func TestTooLongAnAnswer(t *testing.T) {
	c := openCard(t, newSandbox(t, cards.Config{}), "fake 0")
	wantReason(t, "Transmit", transmit(t, c, insBroken, 0), cardbroker.Internal)
	if err := transmit(t, c, insEcho, 0); err != nil {
		t.Errorf("Transmit afterwards = %v", err)
	}
}

func TestEmptyEnvironment(t *testing.T) {
	t.Setenv("CARDBROKER_SECRET", "x")
	s := newSandbox(t, cards.Config{}, "environment")
	_, err := s.Readers(t.Context())
	if !strings.Contains(err.Error(), "environment [], dumpable false") {
		t.Errorf("Readers() = %v, want an empty environment and a process that cannot be dumped", err)
	}
}

func TestUntrustedProgram(t *testing.T) {
	tests := map[string]struct {
		arrange func(t *testing.T, dir, program string)
		want    string
	}{
		"missing":             {func(t *testing.T, _, program string) { os.Remove(program) }, "not there"},
		"others may write it": {func(t *testing.T, _, program string) { os.Chmod(program, 0o777) }, "others may write"},
		"the group may":       {func(t *testing.T, _, program string) { os.Chmod(program, 0o770) }, "others may write"},
		"its directory":       {func(t *testing.T, dir, _ string) { os.Chmod(dir, 0o777) }, "others may write"},
		"another's file":      {func(t *testing.T, _, program string) { os.Chown(program, 4321, 0) }, "others may write"},
		"a directory":         {func(t *testing.T, _, program string) { os.Remove(program); os.Mkdir(program, 0o700) }, "not a file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if name == "another's file" {
				testenv.Root(t)
			}
			dir := t.TempDir()
			program := filepath.Join(dir, "cardsandbox")
			if err := os.WriteFile(program, []byte("#!/bin/false\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			test.arrange(t, dir, program)
			s := newSandbox(t, cards.Config{Program: program, Args: []string{"softcard"}})
			_, err := s.Readers(t.Context())
			wantReason(t, "Readers()", err, cardbroker.Unavailable)
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("Readers() = %v, want %q", err, test.want)
			}
		})
	}
}
