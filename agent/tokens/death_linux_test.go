// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/tokens"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/internal/token"
)

// spending are the questions that may have spent a try, or made something, when their process has ended.
var spending = map[string]struct {
	q    token.Question
	pins int
	want cardbroker.Reason
}{
	"sign":       {token.Question{Call: token.CallSign, Sign: sign(keyExit).Sign}, 0, cardbroker.Indeterminate},
	"login":      {token.Question{Call: token.CallLogin}, 1, cardbroker.Indeterminate},
	"change_pin": {token.Question{Call: token.CallChangePIN}, 2, cardbroker.Indeterminate},
	"unblock":    {token.Question{Call: token.CallUnblock}, 2, cardbroker.Indeterminate},
	"pin-pad":    {token.Question{Call: token.CallLogin, Protected: true}, 0, cardbroker.Indeterminate},
	"objects":    {token.Question{Call: token.CallObjects}, 0, cardbroker.Unavailable},
	"private":    {token.Question{Call: token.CallObjects}, 1, cardbroker.Indeterminate},
	"token":      {token.Question{Call: token.CallToken}, 0, cardbroker.Unavailable},
}

// TestLostQuestion: what may have spent a try is never asked twice, and is called indeterminate.
func TestLostQuestion(t *testing.T) {
	for name, test := range spending {
		t.Run(name, func(t *testing.T) {
			s := newTokens(t, tokens.Config{}, "FAKE=end of a stream")
			slots := slotsOf(t, s)
			pins := make([]cardbroker.Secret, test.pins)
			for i := range pins {
				pins[i] = pin("1234")
			}
			_, err := s.Do(t.Context(), "fake", slots[0], test.q, pins...)
			wantReason(t, "Do()", err, test.want)
			if st := s.Modules()[0]; st.Starts != 1 {
				t.Errorf("Modules() = %+v: it was asked again", st)
			}
		})
	}
}

// hangLimit is how long calls may take that hang. The others may take longer, as the start of a process does on a busy machine.
const hangLimit = 300 * time.Millisecond

func TestHungModuleIsKilled(t *testing.T) {
	s := newTokens(t, tokens.Config{})
	slots := slotsOf(t, s)
	s.LimitCalls(hangLimit)
	_, err := s.Do(t.Context(), "fake", slots[0], sign(keyHang), pin("1234"))
	wantReason(t, "Do(hang)", err, cardbroker.Indeterminate)
	s.LimitCalls(time.Minute)
	if _, err := s.Do(t.Context(), "fake", slots[0], sign(keyGood), pin("1234")); err != nil { // by the next process
		t.Errorf("Do() afterwards = %v", err)
	}
	if st := s.Modules()[0]; st.Starts != 2 || st.Kills != 1 || st.LastExit != "killed: it did not answer in time" {
		t.Errorf("Modules() = %+v, want a kill", st)
	}
}

// TestHungWithoutAsker: an asker that has left does not keep a hung module alive.
func TestHungWithoutAsker(t *testing.T) {
	g := newGate(t)
	s := newTokens(t, tokens.Config{}, g.env())
	slots := slotsOf(t, s)
	if mute := s.Modules()[0].Mute; mute != 0 {
		t.Errorf("before it was asked it is mute for %v", mute)
	}
	s.LimitCalls(hangLimit)
	asked := time.Now()
	ctx, leave := testenv.Leaver(t.Context(), context.DeadlineExceeded)
	done := make(chan error)
	go func() {
		_, err := s.Do(ctx, "fake", slots[0], sign(keySlow))
		done <- err
	}()
	g.begun() // and its end is never opened
	leave()
	err := <-done
	if st := s.Modules()[0]; time.Since(asked) < hangLimit { // else it may be killed by now
		wantReason(t, "Do(hang)", err, cardbroker.Timeout)
		if st.PID == 0 || st.Mute == 0 {
			t.Errorf("Modules() = %+v, want that it owes an answer", st)
		}
	}
	eventually(t, "the module is killed", func() bool { return s.Modules()[0].Kills == 1 })
	s.LimitCalls(time.Minute)
	if _, err := s.Do(t.Context(), "fake", slots[0], sign(keyGood)); err != nil {
		t.Errorf("Do() afterwards = %v", err)
	}
	if mute := s.Modules()[0].Mute; mute != 0 {
		t.Errorf("after its answer it is mute for %v", mute)
	}
}

// TestReplacedBetweenQuestions has the process replaced when it has just listed its slots for somebody whose question is about one of
// them: who asked was told an error of ours without a reason.
func TestReplacedBetweenQuestions(t *testing.T) {
	var s *tokens.Tokens
	renewals := 2
	lend := func(_ context.Context, slot string) (func(), error) {
		if slot != "" && renewals > 0 { // first before the process is found not to have listed its slots, then after it has
			renewals--
			s.Renew()
		}
		return func() {}, nil
	}
	s = newTokens(t, tokens.Config{Lend: lend, Modules: []config.Module{{Name: "fake", Library: library, PCSC: true}}})
	slots := slotsOf(t, s)
	a, err := s.Do(t.Context(), "fake", slots[0], token.Question{Call: token.CallToken})
	if err != nil || a.Token.Model != "in slot 1" {
		t.Errorf("Do() = %+v, %v", a, err)
	}
	if st := s.Modules()[0]; renewals > 0 || st.Starts != 3 {
		t.Errorf("Modules() = %+v, want a third process", st)
	}
}

// TestUserTakesHisTime: a module that waits for its user at a reader owes no answer.
func TestUserTakesHisTime(t *testing.T) {
	g := newGate(t)
	s := newTokens(t, tokens.Config{}, g.env())
	slots := slotsOf(t, s)
	q := sign(keySlow)
	q.Protected = true
	done := make(chan error)
	go func() {
		_, err := s.Do(t.Context(), "fake", slots[0], q)
		done <- err
	}()
	g.begun()
	if st := s.Modules()[0]; st.PID == 0 || st.Mute != 0 {
		t.Errorf("Modules() = %+v, want that it owes nothing", st)
	}
	g.open()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCrash(t *testing.T) {
	s := newTokens(t, tokens.Config{})
	slots := slotsOf(t, s)
	_, err := s.Do(t.Context(), "fake", slots[0], sign(keyExit))
	wantReason(t, "Do(exit)", err, cardbroker.Indeterminate)
	if _, err := s.Do(t.Context(), "fake", slots[1], sign(keyGood)); err != nil {
		t.Errorf("Do() afterwards = %v", err)
	}
	if got := s.Modules()[0].LastExit; got != "exit status 7 (the vendor's last words)" {
		t.Errorf("LastExit = %q, want status and last line", got)
	}
}

// TestKilledFromOutside: whose question was not sent yet is asked of the next process, and meets the same token or none.
func TestKilledFromOutside(t *testing.T) {
	s := newTokens(t, tokens.Config{})
	slots := slotsOf(t, s)
	if process, err := os.FindProcess(s.Modules()[0].PID); err == nil {
		process.Kill()
		process.Release()
	}
	eventually(t, "the end is noticed", func() bool { return s.Modules()[0].PID == 0 })
	slots[0].ID += 40 // the next process may number its slots otherwise
	a, err := s.Do(t.Context(), "fake", slots[0], token.Question{Call: token.CallToken})
	if err != nil || a.Token.Model != "in slot 1" {
		t.Errorf("Do() = %+v, %v, want it to find the slot again", a, err)
	}
	slots[1].Token = slots[0].Token
	_, err = s.Do(t.Context(), "fake", slots[1], sign(keyGood), pin("1234"))
	wantReason(t, "Do() of a slot with another token", err, cardbroker.ObjectUnknown)
}

func TestLiarIsKilled(t *testing.T) {
	for _, how := range []string{
		"garbage", "info without a library", "info that is no JSON", "unknown field", "stream twice", "stream that is not there",
		"number of an answer", "type of an answer", "error without a reason", "answer without an end",
	} {
		t.Run(how, func(t *testing.T) {
			s := newTokens(t, tokens.Config{}, "FAKE="+how)
			slots, err := s.Slots(t.Context(), "fake", false)
			if err == nil {
				_, err = s.Do(t.Context(), "fake", slots[0], token.Question{Call: token.CallToken})
			}
			wantReason(t, "Do()", err, cardbroker.Unavailable)
			eventually(t, "the module is killed", func() bool { return s.Modules()[0].Kills > 0 })
		})
	}
}

func TestModuleThatCannotStart(t *testing.T) {
	s := newTokens(t, tokens.Config{}, "FAKE=crash")
	var fourth time.Time // when it was asked for
	for range 4 {
		fourth = time.Now()
		_, err := s.Library(t.Context(), "fake")
		wantReason(t, "Library()", err, cardbroker.Unavailable)
		if !strings.Contains(err.Error(), "the module fake does not run") || s.Modules()[0].LastExit != "exit status 3 (fake: no such  [2Jsymbol)" {
			t.Errorf("Library() = %v (%s), want the process's last line", err, s.Modules()[0].LastExit)
		}
		if shown := api.Describe(err).Description; strings.Contains(shown, "exit status") || strings.Contains(shown, "symbol") {
			t.Errorf("everybody is told %q", shown)
		}
	}
	_, err := s.Slots(t.Context(), "fake", true)
	if st := s.Modules()[0]; (!strings.Contains(err.Error(), "next try in 250ms") || st.Starts != 4) && time.Since(fourth) < 250*time.Millisecond {
		t.Errorf("Slots() = %v after %d starts, want a pause after the fourth", err, st.Starts)
	}
}

func TestSilentModuleIsKilled(t *testing.T) {
	s := newTokens(t, tokens.Config{CallLimit: 100 * time.Millisecond}, "FAKE=silent")
	_, err := s.Library(t.Context(), "fake")
	wantReason(t, "Library()", err, cardbroker.Unavailable)
	if st := s.Modules()[0]; st.Kills != 1 {
		t.Errorf("Modules() = %+v, want a kill", st)
	}
}

func TestUnfitLibrary(t *testing.T) {
	foreign := filepath.Join(t.TempDir(), "module.so")
	if err := os.WriteFile(foreign, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(foreign, 0o666); err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string]string{"/nonexistent/module.so": "is not there", foreign: "is not root's alone"} {
		s := newTokens(t, tokens.Config{Modules: []config.Module{{Name: "fake", Library: path}}})
		_, err := s.Library(t.Context(), "fake")
		wantReason(t, "Library()", err, cardbroker.Unavailable)
		if shown := api.Describe(err).Description; shown != "the module fake does not run" {
			t.Errorf("everybody is told %q", shown)
		}
		if got := s.Modules()[0].LastExit; !strings.Contains(got, words) || !strings.Contains(got, path) {
			t.Errorf("LastExit of %s = %q, want %q and the path", path, got, words)
		}
	}
}

// TestEnvironment: a module is told what policy says, and nothing else.
func TestEnvironment(t *testing.T) {
	t.Setenv("CARDBROKER_SECRET", "x")
	m := config.Module{Name: "fake", Library: library, Env: []string{"FAKE=environment"}, Read: []string{"/a", "/b"}, Write: []string{"/c"}}
	for pcsc, want := range map[bool]string{
		false: `environment ["HOME=/nonexistent" "FAKE=environment" "CARDSANDBOX_READ=/a:/b" "CARDSANDBOX_WRITE=/c"]`,
		true:  `environment ["HOME=/nonexistent" "FAKE=environment" "CARDSANDBOX_READ=/a:/b" "CARDSANDBOX_WRITE=/c" "PCSCLITE_CSOCK_NAME=/run/own"]`,
	} {
		m.PCSC = pcsc
		s := newTokens(t, tokens.Config{PCSC: "/run/own", Modules: []config.Module{m}})
		if _, err := s.Library(t.Context(), "fake"); !strings.Contains(err.Error(), want) {
			t.Errorf("Library() = %v, want %s", err, want)
		}
	}
}

func TestIdleStop(t *testing.T) {
	g := newGate(t)
	s := newTokens(t, tokens.Config{Idle: 50 * time.Millisecond}, g.env())
	slots := slotsOf(t, s)
	done := make(chan error)
	go func() {
		_, err := s.Do(t.Context(), "fake", slots[0], sign(keySlow))
		done <- err
	}()
	g.begun()
	<-time.After(100 * time.Millisecond) // longer than idle
	if st := s.Modules()[0]; st.PID == 0 {
		t.Errorf("Modules() = %+v: a question keeps the process", st)
	}
	g.open()
	if err := <-done; err != nil {
		t.Error(err)
	}
	eventually(t, "the idle process ends", func() bool { return s.Modules()[0].PID == 0 })
	if st := s.Modules()[0]; st.Kills != 0 || st.LastExit != "exit status 0" {
		t.Errorf("Modules() = %+v, want a regular end", st)
	}
	if _, err := s.Do(t.Context(), "fake", slots[0], sign(keyGood)); err != nil { // the slots are known from the former process
		t.Errorf("Do() after the idle stop = %v", err)
	}
}

// TestClosed: who closes the session's readers closes modules with PC/SC, and no others; all begin anew when the user is back.
func TestClosed(t *testing.T) {
	g := newGate(t)
	s := newTokens(t, tokens.Config{Modules: []config.Module{
		{Name: "cards", Library: library, PCSC: true, Env: []string{g.env()}}, {Name: "fake", Library: library},
	}})
	slots, err := s.Slots(t.Context(), "cards", false)
	if err != nil {
		t.Fatal(err)
	}
	slotsOf(t, s)
	done := make(chan error)
	ask := func() {
		_, err := s.Do(t.Context(), "cards", slots[0], sign(keySlow))
		done <- err
	}
	go ask()
	g.begun()
	s.Forbid(cardbroker.Errorf(cardbroker.ReaderSharedHost, "others are here"))
	wantReason(t, "what runs", <-done, cardbroker.Indeterminate)
	_, err = s.Library(t.Context(), "cards")
	wantReason(t, "Library()", err, cardbroker.ReaderSharedHost)
	slotsOf(t, s)
	s.Forbid(nil)
	if _, err := s.Library(t.Context(), "cards"); err != nil {
		t.Errorf("Library() = %v, want no error", err)
	}

	go ask()
	g.begun()
	released := make(chan error)
	go func() { released <- s.Release() }()
	eventually(t, "who comes now waits for the next process", func() bool {
		_, err := s.Library(testenv.Patience(t.Context(), 5*time.Millisecond), "cards") // who need not wait is answered
		return cardbroker.ReasonOf(err) == cardbroker.Timeout
	})
	later := make(chan error)
	go func() {
		_, err := s.Do(t.Context(), "cards", slots[1], sign(keyGood))
		later <- err
	}()
	g.open()
	for what, ended := range map[string]chan error{"what runs": done, "Release()": released, "what comes meanwhile": later} {
		if err := <-ended; err != nil {
			t.Errorf("%s = %v, want no error", what, err)
		}
	}
	if st := s.Modules(); st[0].Starts != 3 || st[1].Starts != 1 {
		t.Errorf("Modules() = %+v, want the third process of one and the first of the other", st)
	}
	s.Renew()
	slotsOf(t, s)
	if st := s.Modules(); st[1].Starts != 2 || st[1].Kills != 0 {
		t.Errorf("Modules() = %+v, want another process", st)
	}
}

// TestEndOfRun: whoever waits when the agent ends is told, and what comes later, too.
func TestEndOfRun(t *testing.T) {
	g := newGate(t)
	s, stop := start(t, tokens.Config{}, g.env())
	slots := slotsOf(t, s)
	done := make(chan error, 1)
	go func() {
		_, err := s.Do(t.Context(), "fake", slots[0], sign(keySlow))
		done <- err
	}()
	g.begun()
	stop()
	wantReason(t, "Do() at the end", <-done, cardbroker.Indeterminate)
	_, err := s.Do(t.Context(), "fake", slots[0], sign(keyGood))
	wantReason(t, "Do() after the end", err, cardbroker.Unavailable)
	if s.Modules()[0].PID != 0 {
		t.Error("a process is left")
	}
}
