// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/tokens"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/internal/token"
)

// library is a file that is root's alone; the fake does not look at it.
const library = "/etc/passwd"

// newTokens runs a supervisor of the module "fake", whose environment is env, until the end of the test.
func newTokens(t testing.TB, cfg tokens.Config, env ...string) *tokens.Tokens {
	t.Helper()
	s, stop := start(t, cfg, env...)
	t.Cleanup(stop)
	return s
}

func start(t testing.TB, cfg tokens.Config, env ...string) (s *tokens.Tokens, stop func()) {
	t.Helper()
	if runtime.GOOS != "linux" {
		testenv.Skip(t, "no sandbox on this system yet")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Program = program
	if cfg.Modules == nil {
		cfg.Modules = []config.Module{{Name: "fake", Title: "Fake", Library: library, Env: env}}
	}
	if _, isTest := t.(*testing.T); isTest {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	settled := testenv.Leaks(t)
	ctx, cancel := context.WithCancel(context.Background())
	s = tokens.New(cfg)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		settled()
	}
}

// slotsOf returns the slots of the fake.
func slotsOf(t testing.TB, s *tokens.Tokens) []token.Slot {
	t.Helper()
	slots, err := s.Slots(t.Context(), "fake", false)
	if err != nil {
		t.Fatalf("Slots() = %v, want no error", err)
	}
	return slots
}

var digest = bytes.Repeat([]byte{0x5A}, 32)

// sign returns the question for a signature by a key of the fake.
func sign(key string) token.Question {
	return token.Question{Call: token.CallSign, Sign: &token.Sign{
		Key: []byte(key), Scheme: token.ECDSA, Hash: token.SHA256, Inputs: []token.Input{{Digest: digest}},
	}}
}

func pin(text string) cardbroker.Secret { return cardbroker.NewSecret([]byte(text)) }

func wantReason(t testing.TB, what string, err error, want cardbroker.Reason) {
	t.Helper()
	if got := cardbroker.ReasonOf(err); got != want {
		t.Errorf("%s = %v, want the reason %q", what, err, want)
	}
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("waited 20 s in vain: %s", what)
			return
		}
	}
}

// gate is how a test has the fake's key "slow" wait.
type gate struct {
	t    testing.TB
	path string
}

func newGate(t testing.TB) gate {
	g := gate{t, filepath.Join(t.TempDir(), "gate")}
	for _, end := range []string{".begun", ".open"} {
		if err := syscall.Mkfifo(g.path+end, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g gate) env() string { return "FAKE_GATE=" + g.path }

// begun waits until a slow signature has begun.
func (g gate) begun() {
	g.t.Helper()
	if _, err := os.ReadFile(g.path + ".begun"); err != nil {
		g.t.Fatal(err)
	}
}

// open lets the slow signature be made.
func (g gate) open() {
	g.t.Helper()
	if err := os.WriteFile(g.path+".open", []byte{1}, 0); err != nil {
		g.t.Fatal(err)
	}
}

func TestAsked(t *testing.T) {
	s := newTokens(t, tokens.Config{})
	if st := s.Modules()[0]; st.Name != "fake" || st.Title != "Fake" || st.Starts != 0 || st.PID != 0 {
		t.Errorf("Modules() = %+v, want no process", st)
	}
	lib, err := s.Library(t.Context(), "fake")
	if err != nil || lib.Cryptoki != "2.40" {
		t.Errorf("Library() = %+v, %v", lib, err)
	}
	_, err = s.Library(t.Context(), "other")
	wantReason(t, "Library(other)", err, cardbroker.ObjectUnknown)
	slots := slotsOf(t, s)
	if len(slots) != 3 || slots[1].Description != "fake 1" || slots[1].Stream != 2 {
		t.Fatalf("Slots() = %+v, want three", slots)
	}
	if present, err := s.Slots(t.Context(), "fake", true); err != nil || len(present) != 2 {
		t.Errorf("Slots(present) = %+v, %v, want two", present, err)
	}
	a, err := s.Do(t.Context(), "fake", slots[1], token.Question{Call: token.CallToken})
	if err != nil || a.Token == nil || a.Token.Model != "in slot 2" {
		t.Errorf("Do(token) = %+v, %v", a, err)
	}
	a, err = s.Do(t.Context(), "fake", slots[0], sign(keyGood), pin("1234"))
	if err != nil || len(a.Signatures) != 1 || !bytes.Equal(a.Signatures[0], digest) {
		t.Errorf("Do(sign) = %+v, %v", a, err)
	}
	a, err = s.Do(t.Context(), "fake", slots[0], sign(keyLong), pin("1234"))
	if err != nil || len(a.Signatures) != 2 || len(a.Signatures[1]) != 1<<20 {
		t.Errorf("Do(sign) with a long answer = %d signatures, %v", len(a.Signatures), err)
	}
	_, err = s.Do(t.Context(), "fake", slots[0], token.Question{Call: token.CallLogin}, pin("4321"))
	if known, ok := err.(*cardbroker.Error); !ok || known.Reason != cardbroker.PINIncorrect || known.Retries != 2 {
		t.Errorf("Do(login) = %v, want pin_incorrect with 2 retries", err)
	}
	long := sign(keyGood)
	for range 64 {
		long.Sign.Inputs = append(long.Sign.Inputs, token.Input{Digest: digest, Data: make([]byte, 10_000)})
	}
	if a, err = s.Do(t.Context(), "fake", slots[0], long); err != nil || len(a.Signatures) != 65 {
		t.Errorf("Do(sign) with a long question = %d signatures, %v", len(a.Signatures), err)
	}
	if st := s.Modules()[0]; st.Starts != 1 || st.Kills != 0 || st.PID == 0 {
		t.Errorf("Modules() = %+v, want one start", st)
	}
}

// TestRefusedBeforehand: what cannot be asked is not, and the PIN is wiped all the same.
func TestRefusedBeforehand(t *testing.T) {
	s := newTokens(t, tokens.Config{})
	slots := slotsOf(t, s)
	other := slots[0]
	other.Description = "elsewhere"
	swapped := slots[0]
	swapped.Token = &token.Token{Label: "zero", Serial: "another"}
	huge := sign(keyGood)
	huge.Sign.Inputs[0].Data = make([]byte, token.MaxJSON)
	tests := map[string]struct {
		slot token.Slot
		q    token.Question
		pins []string
		want cardbroker.Reason
	}{
		"no such slot":         {other, sign(keyGood), []string{"1234"}, cardbroker.ObjectUnknown},
		"another token":        {swapped, sign(keyGood), []string{"1234"}, cardbroker.ObjectUnknown},
		"nothing to sign":      {slots[0], token.Question{Call: token.CallSign}, []string{"1234"}, cardbroker.Invalid},
		"no PIN":               {slots[0], token.Question{Call: token.CallLogin}, nil, cardbroker.Invalid},
		"an empty PIN":         {slots[0], token.Question{Call: token.CallLogin}, []string{""}, cardbroker.Invalid},
		"a PIN too long":       {slots[0], token.Question{Call: token.CallLogin}, []string{strings.Repeat("1", 256)}, cardbroker.Invalid},
		"a PIN too many":       {slots[0], sign(keyGood), []string{"1234", "1234"}, cardbroker.Invalid},
		"a call of the module": {slots[0], token.Question{Call: token.CallSlots}, nil, cardbroker.Invalid},
		"too long":             {slots[0], huge, []string{"1234"}, cardbroker.TooLarge},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var bytes [][]byte
			var secrets []cardbroker.Secret
			for _, text := range test.pins {
				bytes = append(bytes, []byte(text))
				secrets = append(secrets, cardbroker.NewSecret(bytes[len(bytes)-1]))
			}
			_, err := s.Do(t.Context(), "fake", test.slot, test.q, secrets...)
			wantReason(t, "Do()", err, test.want)
			wantWiped(t, bytes...)
		})
	}
	_, err := s.Do(t.Context(), "other", slots[0], sign(keyGood))
	wantReason(t, "Do() of an unknown module", err, cardbroker.ObjectUnknown)
	if st := s.Modules()[0]; st.Starts != 1 {
		t.Errorf("Modules() = %+v, want one start", st)
	}
}

func wantWiped(t testing.TB, secrets ...[]byte) {
	t.Helper()
	for _, s := range secrets {
		if !bytes.Equal(s, make([]byte, len(s))) {
			t.Errorf("a PIN was not wiped: %q", s)
		}
	}
}

// TestSlotsDoNotWait: what one slot is asked is no matter of another, and what a slot is asked meanwhile waits in order.
func TestSlotsDoNotWait(t *testing.T) {
	g := newGate(t)
	s := newTokens(t, tokens.Config{}, g.env())
	slots := slotsOf(t, s)
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := s.Do(t.Context(), "fake", slots[0], sign(keySlow)); err != nil {
			t.Errorf("Do(slow) = %v", err)
		}
	})
	g.begun()
	if _, err := s.Do(t.Context(), "fake", slots[1], sign(keyGood)); err != nil {
		t.Errorf("Do() of another slot = %v", err)
	}
	slotsOf(t, s)
	impatient, leave := testenv.Leaver(t.Context(), context.DeadlineExceeded)
	all.Go(func() {
		_, err := s.Do(impatient, "fake", slots[0], sign(keyGood))
		wantReason(t, "Do() of who has no patience", err, cardbroker.ReaderBusy)
	})
	eventually(t, "he waits", func() bool { return s.Queued("fake", 1) == 2 })
	leave()
	eventually(t, "he has left", func() bool { return s.Queued("fake", 1) == 1 })
	leaves, leave := context.WithCancel(t.Context())
	var left sync.WaitGroup
	for range 8 {
		left.Go(func() {
			_, err := s.Do(leaves, "fake", slots[0], sign(keyGood))
			wantReason(t, "Do() of who leaves", err, cardbroker.Canceled)
		})
	}
	eventually(t, "eight wait", func() bool { return s.Queued("fake", 1) == 9 })
	_, err := s.Do(t.Context(), "fake", slots[0], sign(keyGood))
	wantReason(t, "Do() of the ninth", err, cardbroker.ReaderBusy)
	leave()
	left.Wait()
	all.Go(func() {
		if _, err := s.Do(t.Context(), "fake", slots[0], sign(keyGood)); err != nil {
			t.Errorf("Do() after waiting = %v", err)
		}
	})
	eventually(t, "one waits", func() bool { return s.Queued("fake", 1) == 2 })
	g.open()
	all.Wait()
	if n := s.Queued("fake", 1); n != 0 {
		t.Errorf("%d wait when all is done", n)
	}
}

// TestAskerLeaves: a slot is busy until it has answered what nobody waits for, and so are the cards that were lent for it.
func TestAskerLeaves(t *testing.T) {
	for why, want := range map[error]cardbroker.Reason{context.DeadlineExceeded: cardbroker.Timeout, context.Canceled: cardbroker.Canceled} {
		t.Run(why.Error(), func(t *testing.T) {
			g := newGate(t)
			var lent atomic.Int32
			lend := func(context.Context, string) (func(), error) { lent.Add(1); return func() { lent.Add(-1) }, nil }
			s := newTokens(t, tokens.Config{Lend: lend, Modules: []config.Module{{Name: "fake", Library: library, PCSC: true, Env: []string{g.env()}}}})
			slots := slotsOf(t, s)
			ctx, leave := testenv.Leaver(t.Context(), why)
			done := make(chan error)
			secret := []byte("1234")
			go func() {
				_, err := s.Do(ctx, "fake", slots[0], sign(keySlow), cardbroker.NewSecret(secret))
				done <- err
			}()
			g.begun()
			leave()
			wantReason(t, "Do(slow)", <-done, want)
			wantWiped(t, secret)
			_, err := s.Do(t.Context(), "fake", slots[0], sign(keyGood))
			wantReason(t, "Do() meanwhile", err, cardbroker.ReaderBusy)
			if n := lent.Load(); n != 1 {
				t.Errorf("%d cards are lent while the module is at it, want 1", n)
			}
			g.open()
			eventually(t, "the slot answers again, and what was asked", func() bool {
				a, err := s.Do(t.Context(), "fake", slots[0], sign(keyGood))
				return err == nil && len(a.Signatures) == 1
			})
			if st := s.Modules()[0]; st.Starts != 1 || lent.Load() != 0 {
				t.Errorf("Modules() = %+v, %d cards are lent, want no restart and none", st, lent.Load())
			}
		})
	}
}

// BenchmarkDo is the way to a slot and back.
func BenchmarkDo(b *testing.B) {
	s := newTokens(b, tokens.Config{})
	slot := slotsOf(b, s)[0]
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		start := time.Now()
		if _, err := s.Do(b.Context(), "fake", slot, sign(keyGood), pin("1234")); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-µs")
}
