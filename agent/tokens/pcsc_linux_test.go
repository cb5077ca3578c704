// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/tokens"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// What a back end says to the software card of the bed.
const (
	bedReader = "Bed 0 00 00"
	selectPIV = "\x00\xA4\x04\x00\x05\xA0\x00\x00\x03\x08\x00"
	verifyPIN = "\x00\x20\x00\x80\x08123456\xFF\xFF"
	askPIN    = "\x00\x20\x00\x80" // VERIFY without data: is it verified?

	good     = "\x90\x00"
	unproven = "\x63\xC3" // three tries are left
)

// opensc returns the module that policy's preset finds.
func opensc(t testing.TB) config.Module {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "policy.d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("modules: {opensc: {}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := config.LoadPolicy(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p.Modules()[0]
}

// session is one session's supervisors, wired as the agent does it, on a bed with a card in its first reader.
type session struct {
	t      testing.TB
	bed    *pcscbed.Bed
	cards  *cards.Sandbox
	tokens *tokens.Tokens
	other  *cards.Sandbox // a program that knows nothing of turns
}

func newSession(t testing.TB) *session {
	t.Helper()
	testenv.Root(t)
	program := testenv.Sandbox(t, true)
	_, bed := pcscbed.New(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s := &session{t: t, bed: bed}
	cfg := cards.Config{Program: program, Args: []string{"pcsc"}, Env: []string{"PCSCLITE_CSOCK_NAME=" + bed.Socket()}, Log: log}
	s.other = cards.New(cfg)
	cfg.Release = func() error { return s.tokens.Release() }
	s.cards = cards.New(cfg)
	s.tokens = tokens.New(tokens.Config{Program: program, Modules: []config.Module{opensc(t)}, PCSC: bed.Socket(), Lend: s.cards.LendSlot, Log: log})
	group := run.New(context.Background())
	group.Go("cards", s.cards.Run)
	group.Go("tokens", s.tokens.Run)
	group.Go("other", s.other.Run)
	t.Cleanup(func() {
		if err := group.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *session) backEnd(share cardbroker.ShareMode) *cards.Card {
	s.t.Helper()
	c, err := s.cards.Open(s.t.Context(), bedReader, share)
	if err != nil {
		s.t.Fatalf("Open() = %v", err)
	}
	return c
}

func (s *session) say(c *cards.Card, command, sw string) {
	s.t.Helper()
	got, _, err := c.Transmit(s.t.Context(), nil, []byte(command))
	if err != nil || !bytes.HasSuffix(got, []byte(sw)) {
		s.t.Errorf("Transmit(%X) = %X, %v, want %X", command, got, err, sw)
	}
}

// token returns the slot of the bed's card.
func (s *session) token() token.Slot {
	s.t.Helper()
	slots, err := s.tokens.Slots(s.t.Context(), "opensc", true)
	if err != nil || len(slots) == 0 {
		s.t.Fatalf("Slots() = %+v, %v, want the card's (%s)", slots, err, s.tokens.Modules()[0].LastExit)
	}
	return slots[0]
}

func (s *session) login(slot token.Slot) {
	s.t.Helper()
	if _, err := s.tokens.Do(s.t.Context(), "opensc", slot, token.Question{Call: token.CallLogin}, pin("123456")); err != nil {
		s.t.Errorf("Do(login) = %v", err)
	}
}

// TestModuleBesideABackEnd has OpenSC's module and a back end use one card: neither finds what the other has left, and who wants the
// card for himself gets it.
func TestModuleBesideABackEnd(t *testing.T) {
	s := newSession(t)
	slot := s.token()
	back := s.backEnd(cardbroker.ShareShared)
	s.say(back, selectPIV, good)
	s.say(back, verifyPIN, good)
	s.say(back, askPIN, good)
	s.login(slot)
	_, _, err := back.Transmit(t.Context(), nil, []byte(askPIN))
	wantReason(t, "the back end's next command", err, cardbroker.CardReset)
	back.Close(cardbroker.LeaveCard)

	back = s.backEnd(cardbroker.ShareShared)
	s.say(back, selectPIV, good)
	s.say(back, askPIN, unproven)
	if err := back.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = s.tokens.Do(testenv.Patience(t.Context(), 50*time.Millisecond), "opensc", slot, token.Question{Call: token.CallLogin}, pin("123456"))
	wantReason(t, "Do(login) beside a transaction", err, cardbroker.ReaderBusy)
	s.say(back, askPIN, unproven)
	back.End(t.Context(), cardbroker.LeaveCard)
	s.login(slot)
	back.Close(cardbroker.LeaveCard)

	starts := s.tokens.Modules()[0].Starts
	sole := s.backEnd(cardbroker.ShareExclusive) // the module, which had a connection to the card, has gone
	s.say(sole, selectPIV, good)
	s.say(sole, askPIN, unproven)
	_, err = s.tokens.Do(t.Context(), "opensc", slot, token.Question{Call: token.CallLogin}, pin("123456"))
	wantReason(t, "Do(login) beside an exclusive connection", err, cardbroker.ReaderBusy)
	s.say(sole, askPIN, unproven)
	sole.Close(cardbroker.LeaveCard)
	s.login(s.token())
	if st := s.tokens.Modules()[0]; st.Starts != starts+1 || st.Kills != 0 {
		t.Errorf("Modules() = %+v, want one process more", st)
	}
}

// TestCardTakenOut: a card that is taken out while it is lent is nobody's trouble.
func TestCardTakenOut(t *testing.T) {
	s := newSession(t)
	slot := s.token()
	loan, err := s.cards.Lend(t.Context(), bedReader)
	if err != nil {
		t.Fatal(err)
	}
	s.login(slot)
	if err := s.bed.Remove(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.tokens.Do(t.Context(), "opensc", slot, token.Question{Call: token.CallLogin}, pin("123456")); err == nil {
		t.Error("Do(login) without a card succeeds")
	}
	if err := loan.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if err := s.bed.Insert(t.Context(), 0, pcscbed.Card{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next card is there", func() bool {
		slots, err := s.tokens.Slots(t.Context(), "opensc", true)
		return err == nil && len(slots) > 0
	})
	s.login(s.token())
}

// TestLoanLeavesNothing has a program leave a verified PIN on a card that it was lent: nobody finds it, even if the sandbox dies before
// it can reset the card.
func TestLoanLeavesNothing(t *testing.T) {
	s := newSession(t)
	for _, dies := range []bool{false, true} {
		loan, err := s.cards.Lend(t.Context(), bedReader)
		if err != nil {
			t.Fatal(err)
		}
		other, err := s.other.Open(t.Context(), bedReader, cardbroker.ShareShared)
		if err != nil {
			t.Fatal(err)
		}
		s.say(other, selectPIV, good)
		s.say(other, verifyPIN, good)
		s.say(other, askPIN, good)
		if dies {
			kill(t, s.cards.Status().PID)
		}
		if err := loan.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if !dies {
			_, _, err := other.Transmit(t.Context(), nil, []byte(askPIN))
			wantReason(t, "what the program says after the loan", err, cardbroker.CardReset)
		}
		back := s.backEnd(cardbroker.ShareShared)
		s.say(back, selectPIV, good)
		s.say(back, askPIN, unproven)
		back.Close(cardbroker.ResetCard)
		other.Close(cardbroker.LeaveCard)
	}
}

func kill(t testing.TB, pid int) {
	t.Helper()
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	process.Kill()
	process.Release()
}
