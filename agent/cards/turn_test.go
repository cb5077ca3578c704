// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// What is said to the software card, and what it answers.
const (
	selectPIV = "\x00\xA4\x04\x00\x05\xA0\x00\x00\x03\x08\x00"
	verifyPIN = "\x00\x20\x00\x80\x08123456\xFF\xFF"
	askPIN    = "\x00\x20\x00\x80" // VERIFY without data: is it verified?

	good     = "9000"
	unproven = "63C3" // three tries are left
)

// say sends a command and checks the status word.
func say(t testing.TB, c *cards.Card, command, sw string) {
	t.Helper()
	got, _, err := c.Transmit(t.Context(), nil, []byte(command))
	if err != nil || !strings.HasSuffix(strings.ToUpper(hexOf(got)), sw) {
		t.Errorf("Transmit(%X) = %X, %v, want %s", command, got, err, sw)
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789ABCDEF"
	var text strings.Builder
	for _, c := range b {
		text.WriteByte(digits[c>>4])
		text.WriteByte(digits[c&15])
	}
	return text.String()
}

func takeTurn(t testing.TB, s *cards.Sandbox, reader string) *cards.Card {
	t.Helper()
	c, err := s.Turn(t.Context(), reader)
	if err != nil {
		t.Fatalf("Turn() = %v", err)
	}
	return c
}

// TestTurnChangesHands: neither a local program nor the back end finds what the other has left on the card.
func TestTurnChangesHands(t *testing.T) {
	s := newSandbox(t, cards.Config{}, "soft")
	backEnd := openCard(t, s, softReader)
	say(t, backEnd, selectPIV, good)
	say(t, backEnd, verifyPIN, good)
	before := backEnd.Epoch()

	turn := takeTurn(t, s, softReader)
	say(t, turn, selectPIV, good)
	say(t, turn, askPIN, unproven) // the back end's PIN is not the program's
	say(t, turn, verifyPIN, good)
	if err := turn.Close(cardbroker.LeaveCard); err != nil {
		t.Errorf("Close() = %v", err)
	}

	for range 2 {
		_, _, err := backEnd.Transmit(t.Context(), nil, []byte(askPIN))
		wantReason(t, "the back end's next command", err, cardbroker.CardReset)
	}
	if backEnd.Epoch() <= before {
		t.Errorf("the card's epoch is %d, want above %d", backEnd.Epoch(), before)
	}
	backEnd.Close(cardbroker.LeaveCard)
	backEnd = openCard(t, s, softReader)
	say(t, backEnd, selectPIV, good)
	say(t, backEnd, askPIN, unproven) // the program's PIN is not the back end's
}

// TestTurnOnAnEmptyCard: what a back end leaves when it has no connection any more is not found either.
func TestTurnOnAnEmptyCard(t *testing.T) {
	s := newSandbox(t, cards.Config{}, "soft")
	backEnd := openCard(t, s, softReader)
	say(t, backEnd, selectPIV, good)
	say(t, backEnd, verifyPIN, good)
	backEnd.Close(cardbroker.LeaveCard)
	turn := takeTurn(t, s, softReader)
	say(t, turn, selectPIV, good)
	say(t, turn, askPIN, unproven)
	turn.Close(cardbroker.LeaveCard)
}

// TestTurnAfterAnotherAgent: a card that an earlier agent's back end may have left something on is reset for the first turn.
func TestTurnAfterAnotherAgent(t *testing.T) {
	s := newSandbox(t, cards.Config{}, "soft")
	stranger := openCard(t, s, softReader)
	say(t, stranger, selectPIV, good)
	say(t, stranger, verifyPIN, good)
	stranger.Close(cardbroker.LeaveCard)
	takeTurn(t, s, softReader).Close(cardbroker.LeaveCard) // what we know of is gone
	before := openCard(t, s, softReader)
	epoch := before.Epoch()
	if err := s.Suspect(softReader); err != nil {
		t.Fatal(err)
	}
	takeTurn(t, s, softReader).Close(cardbroker.LeaveCard)
	if before.Epoch() == epoch {
		t.Error("the suspected card was not reset for a local turn")
	}
}

// TestTurnWithoutTrace: a turn that sends the card nothing is not noticed by a back end that has sent it nothing since it
// was reset.
func TestTurnWithoutTrace(t *testing.T) {
	s := newSandbox(t, cards.Config{}, "soft")
	backEnd := openCard(t, s, softReader)
	say(t, backEnd, selectPIV, good)
	if err := backEnd.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := backEnd.End(t.Context(), cardbroker.ResetCard); err != nil {
		t.Fatal(err)
	}
	before := backEnd.Epoch()
	for range 2 {
		turn := takeTurn(t, s, softReader)
		if _, err := turn.Attribute(t.Context(), 0x00090303); err != nil {
			t.Errorf("Attribute() = %v", err)
		}
		turn.Close(cardbroker.LeaveCard)
	}
	say(t, backEnd, selectPIV, good)
	if backEnd.Epoch() != before {
		t.Errorf("the card's epoch is %d, it was %d", backEnd.Epoch(), before)
	}
}

// TestTurnWaits: a program waits for the end of the back end's transaction, and the back end for the end of the turn.
func TestTurnWaits(t *testing.T) {
	s := newSandbox(t, cards.Config{}, "soft")
	backEnd := openCard(t, s, softReader)
	if err := backEnd.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	turns := make(chan *cards.Card)
	go func() {
		c, err := s.Turn(t.Context(), softReader)
		if err != nil {
			t.Errorf("Turn() = %v", err)
		}
		turns <- c
	}()
	eventually(t, "the program waits", func() bool { return s.Turns(softReader) == 1 })
	for range 3 {
		say(t, backEnd, selectPIV, good)
	}
	if err := backEnd.End(t.Context(), cardbroker.LeaveCard); err != nil {
		t.Errorf("End() = %v", err)
	}
	turn := <-turns
	answered := make(chan error)
	go func() {
		_, _, err := backEnd.Transmit(t.Context(), nil, []byte(selectPIV))
		answered <- err
	}()
	for range 3 {
		say(t, turn, selectPIV, good)
	}
	select {
	case err := <-answered:
		t.Errorf("the back end was answered during the turn: %v", err)
	default:
	}
	turn.Close(cardbroker.LeaveCard)
	wantReason(t, "the back end's command", <-answered, cardbroker.CardReset)
}

// TestTurnRefused: who cannot have a turn is told who has the card.
func TestTurnRefused(t *testing.T) {
	s := newSandbox(t, cards.Config{Holder: func(string) (string, string) { return "a back end (tenant issuer)", "14:05" }})
	refused := func(what string, err error, words string) {
		t.Helper()
		wantReason(t, what, err, cardbroker.ReaderBusy)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s = %v, want %q in it", what, err, words)
		}
	}
	sole, err := s.Open(t.Context(), "fake 0", cardbroker.ShareExclusive)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Turn(t.Context(), "fake 0")
	refused("Turn beside an exclusive connection", err, "a back end (tenant issuer) holds the reader for itself until 14:05")
	sole.Close(cardbroker.LeaveCard)

	backEnd := openCard(t, s, "fake 0")
	backEnd.Begin(t.Context())
	short := testenv.Patience(t.Context(), 20*time.Millisecond)
	_, err = s.Turn(short, "fake 0")
	refused("Turn beside a transaction", err, "a transaction of a back end (tenant issuer), which holds the reader until 14:05, has not ended")

	leaves, leave := context.WithCancel(t.Context())
	var left sync.WaitGroup
	for range 64 {
		left.Go(func() {
			_, err := s.Turn(leaves, "fake 0")
			wantReason(t, "Turn of who leaves", err, cardbroker.Canceled)
		})
	}
	eventually(t, "all wait", func() bool { return s.Turns("fake 0") == 64 })
	_, err = s.Turn(t.Context(), "fake 0")
	refused("one more", err, "64 local programs")
	leave()
	left.Wait()
	if n := s.Turns("fake 0"); n != 0 {
		t.Errorf("%d wait when all have left", n)
	}
	backEnd.End(t.Context(), cardbroker.LeaveCard)

	turn := takeTurn(t, s, "fake 0")
	_, err = s.Turn(short, "fake 0")
	wantReason(t, "Turn with an ended ctx", err, cardbroker.Timeout)
	_, err = s.Turn(testenv.Patience(t.Context(), 20*time.Millisecond), "fake 0")
	refused("Turn beside another's", err, "a local program of this session")
	turn.Close(cardbroker.LeaveCard)
	takeTurn(t, s, "fake 0").Close(cardbroker.LeaveCard)
}

// TestTurnOutlivesTheChild: who waits for a turn when the child dies has it with the next one.
func TestTurnOutlivesTheChild(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	backEnd := openCard(t, s, "fake 0")
	backEnd.Begin(t.Context()) // and never comes back
	done := make(chan error)
	go func() {
		turn, err := s.Turn(t.Context(), "fake 0")
		if err == nil {
			err = transmit(t, turn, insEcho, 0)
			turn.Close(cardbroker.LeaveCard)
		}
		done <- err
	}()
	eventually(t, "the program waits", func() bool { return s.Turns("fake 0") == 1 })
	kill(t, s.Status().PID)
	if err := <-done; err != nil {
		t.Errorf("the turn after the death = %v", err)
	}
	wantReason(t, "the back end's command", transmit(t, backEnd, insEcho, 0), cardbroker.CardReset)
	backEnd.Close(cardbroker.LeaveCard)
}

// TestLateTurn: a program that leaves while the card has its command does not give the card away before it has answered.
func TestLateTurn(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	backEnd := openCard(t, s, "fake 0")
	turn := takeTurn(t, s, "fake 0")
	const slow = 300 * time.Millisecond
	asked := time.Now()
	err := leaves(t, s, turn, slow, context.DeadlineExceeded)
	if time.Since(asked) < slow {
		wantReason(t, "Transmit", err, cardbroker.Timeout)
	}
	if err := turn.Close(cardbroker.LeaveCard); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if took := time.Since(asked); took < slow {
		t.Errorf("Close() returned %v after the command, want it to wait for the card", took)
	}
	wantReason(t, "the back end's command", transmit(t, backEnd, insEcho, 0), cardbroker.CardReset)
}

// TestTurnCrowd has programs and a back end at one card: each is alone in its turn, and none starves.
func TestTurnCrowd(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	var inside atomic.Int32
	alone := func(who string, do func()) {
		if n := inside.Add(1); n != 1 {
			t.Errorf("%s is at the card with %d others", who, n-1)
		}
		do()
		inside.Add(-1)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 25 {
				turn := takeTurn(t, s, "fake 0")
				alone("a program", func() { transmit(t, turn, insEcho, 0) })
				turn.Close(cardbroker.LeaveCard)
			}
		})
	}
	all.Go(func() {
		for n := 0; n < 25; {
			c := openCard(t, s, "fake 0")
			if c.Begin(t.Context()) == nil {
				n++
				alone("the back end", func() { transmit(t, c, insEcho, 0) })
				c.End(t.Context(), cardbroker.LeaveCard)
			}
			c.Close(cardbroker.LeaveCard)
		}
	})
	all.Wait()
}
