// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

func lend(t testing.TB, s *cards.Sandbox, reader string) *cards.Loan {
	t.Helper()
	loan, err := s.Lend(t.Context(), reader)
	if err != nil {
		t.Fatalf("Lend() = %v", err)
	}
	return loan
}

func giveBack(t testing.TB, loan *cards.Loan) {
	t.Helper()
	for range 2 {
		if err := loan.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
}

// asks has a back end send a command, whose error comes later.
func asks(t testing.TB, c *cards.Card) <-chan error {
	answered := make(chan error, 1)
	go func() {
		_, _, err := c.Transmit(t.Context(), nil, []byte(selectPIV))
		answered <- err
	}()
	return answered
}

// TestLoanChangesHands: another program does not find what the back end has left, nor the back end what the program has.
func TestLoanChangesHands(t *testing.T) {
	s := newSandbox(t, cards.Config{}, "soft")
	back := openCard(t, s, softReader)
	say(t, back, selectPIV, good)
	say(t, back, verifyPIN, good)
	before := back.Epoch()
	loan := lend(t, s, softReader)
	if back.Epoch() == before {
		t.Error("the back end's card was not reset before it was lent")
	}
	answered := asks(t, back)
	eventually(t, "the back end waits", func() bool { return s.Waits(softReader) })
	giveBack(t, loan)
	wantReason(t, "the back end's command", <-answered, cardbroker.CardReset)
	back.Close(cardbroker.LeaveCard)
	back = openCard(t, s, softReader)
	say(t, back, selectPIV, good)
	say(t, back, askPIN, unproven)

	// A back end that has sent the card nothing since its reset is told, too: what the program did is not known.
	back.Begin(t.Context())
	back.End(t.Context(), cardbroker.ResetCard)
	giveBack(t, lend(t, s, softReader))
	_, _, err := back.Transmit(t.Context(), nil, []byte(selectPIV))
	wantReason(t, "the back end's command", err, cardbroker.CardReset)
}

// TestLoanWaits: as a turn it waits for the end of a transaction, and does not wait for who shares with nobody.
func TestLoanWaits(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	back := openCard(t, s, "fake 0")
	back.Begin(t.Context())
	loans := make(chan *cards.Loan)
	go func() { loans <- lend(t, s, "fake 0") }()
	eventually(t, "the program waits", func() bool { return s.Turns("fake 0") == 1 })
	if err := transmit(t, back, insEcho, 0); err != nil {
		t.Errorf("Transmit() = %v", err)
	}
	back.End(t.Context(), cardbroker.LeaveCard)
	giveBack(t, <-loans)
	back.Close(cardbroker.LeaveCard)

	sole, err := s.Open(t.Context(), "fake 0", cardbroker.ShareExclusive)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Lend(t.Context(), "fake 0")
	wantReason(t, "Lend beside an exclusive connection", err, cardbroker.ReaderBusy)
	sole.Close(cardbroker.LeaveCard)
}

// TestLoanOutlivesTheChild: the program goes on when the child dies, so back ends wait with the next one, too.
func TestLoanOutlivesTheChild(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	loan := lend(t, s, "fake 0")
	kill(t, s.Status().PID)
	eventually(t, "the end is noticed", func() bool { return s.Status().PID == 0 })
	opened := make(chan *cards.Card)
	go func() { opened <- openCard(t, s, "fake 0") }()
	openCard(t, s, "fake 1") // nobody waits for the reader of another
	eventually(t, "the back end waits", func() bool { return s.Waits("fake 0") })
	select {
	case <-opened:
		t.Fatal("a back end has the card that is lent")
	case <-time.After(50 * time.Millisecond):
	}
	giveBack(t, loan)
	if err := transmit(t, <-opened, insEcho, 0); err != nil {
		t.Errorf("Transmit() = %v", err)
	}
}

// TestLoanOfADeadChild: no child runs any more when the loan ends; who comes next has the card reset.
func TestLoanOfADeadChild(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	loan := lend(t, s, "fake 0")
	kill(t, s.Status().PID)
	giveBack(t, loan)
	giveBack(t, lend(t, s, "fake 0"))
}

// TestLendSlot: a question of the program that has the reader goes on in his loan, which does not end before it is answered.
func TestLendSlot(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	lent := func(slot string, want ...int) func() {
		t.Helper()
		end, err := s.LendSlot(t.Context(), slot)
		if err != nil {
			t.Fatalf("LendSlot(%q) = %v", slot, err)
		}
		for n, turns := range want {
			if got := s.Turns([]string{"fake 0", "fake 1", "fake 2"}[n]); got != turns {
				t.Errorf("LendSlot(%q): %d turns of reader %d, want %d", slot, got, n, turns)
			}
		}
		return end
	}
	free := func() {
		t.Helper()
		eventually(t, "all readers are free", func() bool { return s.Turns("fake 0")+s.Turns("fake 1")+s.Turns("fake 2") == 0 })
	}
	lent("")() // no child runs for that
	if s.Status().Starts != 0 {
		t.Error("a child was started for a list of slots")
	}
	lent("fake 1  ", 0, 1, 0)()
	free()
	lent("fake 1 (signature)", 0, 1, 0)()
	free()
	lent("somewhere", 1, 1, 1)()
	free()
	back := openCard(t, s, "fake 0")
	sole, err := s.Open(t.Context(), "fake 1", cardbroker.ShareExclusive)
	if err != nil {
		t.Fatal(err)
	}
	lent("", 1, 0, 0)()
	free()
	back.Close(cardbroker.LeaveCard)
	sole.Close(cardbroker.LeaveCard)

	loan := lend(t, s, "fake 0")
	late := lent("fake 0", 1, 0, 0)
	giveBack(t, loan) // the asker has left, the module is still at it
	_, err = s.LendSlot(testenv.Patience(t.Context(), 20*time.Millisecond), "fake 0")
	wantReason(t, "LendSlot() of a later asker", err, cardbroker.ReaderBusy)
	next := make(chan *cards.Loan)
	go func() { next <- lend(t, s, "fake 0") }()
	eventually(t, "the next waits", func() bool { return s.Turns("fake 0") == 2 })
	late()
	giveBack(t, <-next)
	free()
}

// TestLoanCrowd has askers with lists and questions of several readers, and a back end: nobody waits for ever.
func TestLoanCrowd(t *testing.T) {
	s := newSandbox(t, cards.Config{})
	for _, name := range []string{"fake 0", "fake 1"} {
		openCard(t, s, name)
	}
	var all sync.WaitGroup
	for _, name := range []string{"fake 0", "fake 1", "fake 0", "fake 1"} {
		all.Go(func() {
			for range 10 {
				loan := lend(t, s, name)
				for _, slot := range []string{"", name} {
					end, err := s.LendSlot(t.Context(), slot)
					if err != nil {
						t.Errorf("LendSlot(%q) = %v", slot, err)
						continue
					}
					end()
				}
				loan.Close()
			}
		})
	}
	all.Wait()
}

// TestRelease: who wants the card for himself has other programs let go of it first.
func TestRelease(t *testing.T) {
	released, fails := 0, error(nil)
	s := newSandbox(t, cards.Config{Release: func() error { released++; return fails }})
	openCard(t, s, "fake 0").Close(cardbroker.LeaveCard)
	if released != 0 {
		t.Error("a shared connection had others let go")
	}
	sole, err := s.Open(t.Context(), "fake 0", cardbroker.ShareExclusive)
	if err != nil || released != 1 {
		t.Fatalf("Open() = %v, released %d times", err, released)
	}
	sole.Close(cardbroker.LeaveCard)
	fails = cardbroker.Wrapf(errors.New("busy"), cardbroker.ReaderBusy, "busy")
	_, err = s.Open(t.Context(), "fake 0", cardbroker.ShareExclusive)
	wantReason(t, "Open()", err, cardbroker.ReaderBusy)
	openCard(t, s, "fake 0")
}

// TestMayReach: a slot's description that has no room for what tells readers apart has all of them lent that have a card: a back end would
// find the PIN verified in the one that was not.
func TestMayReach(t *testing.T) {
	long, card := strings.Repeat("long ", 20)[:64], &fakeCard
	readers := []cardbroker.Reader{{Name: "short"}, {Name: long + " 00", Card: card}, {Name: long + " 01", Card: card}, {Name: long + " 02"}, {Name: "other", Card: card}}
	for description, want := range map[string][]string{
		"short": {"short"}, long: {long + " 00", long + " 01"}, "unknown": {long + " 00", long + " 01", "other"},
	} {
		if got := cards.MayReach(description, readers); !slices.Equal(got, want) {
			t.Errorf("a slot called %q may reach %q, want %q", description, got, want)
		}
	}
}
