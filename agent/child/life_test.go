// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
)

// story is a life without processes: what would start one is counted.
type story struct {
	t      *testing.T
	life   Life
	starts int
}

func newStory(t *testing.T) *story {
	s := &story{t: t}
	s.life = Life{Name: "the test", Idle: time.Minute, Start: func() { s.starts++ }, Gone: func() {}}
	return s
}

// asks has somebody want the process, and returns what he is told at once or later.
func (s *story) asks() (told <-chan error, err error) {
	told, err = s.life.WhenReady()
	s.life.Commit()
	s.life.Answer()
	return told, err
}

// dies has a process end that has lived for age.
func (s *story) dies(age time.Duration) {
	s.life.Ended(Exit{Why: "it fell over", Age: age})
	s.life.Commit()
	s.life.Answer()
}

func (s *story) wantStarts(want int) {
	s.t.Helper()
	if s.starts != want {
		s.t.Errorf("%d starts, want %d", s.starts, want)
	}
}

// TestPauses: three deaths in a row are free, then the pauses double; who asks waits for a second of them at most.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory(t)
		for n, pause := range []time.Duration{0, 0, 0, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, time.Second, time.Second} {
			told, err := s.asks()
			if err != nil || s.starts != n+1 {
				t.Fatalf("death %d: WhenReady() = %v after %d starts, want a start", n, err, s.starts)
			}
			s.dies(time.Second)
			if got := cardbroker.ReasonOf(<-told); got != cardbroker.Unavailable {
				t.Errorf("death %d: who has waited is told %q", n, got)
			}
			if pause == 0 {
				continue
			}
			time.Sleep(pause - time.Millisecond)
			if _, err := s.asks(); cardbroker.ReasonOf(err) != cardbroker.Unavailable || s.starts != n+1 {
				t.Errorf("death %d: WhenReady() before the pause of %v ends = %v, %d starts", n, pause, err, s.starts)
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := s.asks(); err != nil {
			t.Fatal(err)
		}
		s.dies(youngAge) // this one was good
		s.asks()
		s.wantStarts(10)
	})
}

// TestWantedPauses: who does not ask, but wants the process to run, waits for the whole pause, which ends at half a minute.
func TestWantedPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory(t)
		s.life.Wanted = true
		s.life.Commit()
		for _, pause := range []time.Duration{0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 120, 120} {
			before := s.starts
			s.dies(time.Second)
			if pause == 0 {
				s.wantStarts(before + 1)
				continue
			}
			s.wantStarts(before)
			if got := time.Until(s.life.Deadline()); got != pause*firstPause {
				t.Errorf("the next start is in %v, want %v", got, pause*firstPause)
			}
			time.Sleep(pause * firstPause)
			s.life.Commit()
			s.wantStarts(before + 1)
		}
		s.life.Wanted = false
		s.dies(time.Second)
		if at := s.life.Deadline(); !at.IsZero() {
			t.Errorf("Deadline() = %v, though nobody wants the process", at)
		}
	})
}

// TestForbidden: who waits is told why, nobody starts a process, and all is well when it is over.
func TestForbidden(t *testing.T) {
	s := newStory(t)
	told, _ := s.asks()
	why := cardbroker.Errorf(cardbroker.ReaderSharedHost, "others are here")
	s.life.Forbid(why)
	s.life.Commit()
	s.life.Answer()
	if err := <-told; err != why {
		t.Errorf("who has waited is told %v, want %v", err, why)
	}
	s.dies(time.Hour)
	if _, err := s.asks(); err != why {
		t.Errorf("WhenReady() = %v, want %v", err, why)
	}
	s.wantStarts(1)
	s.life.Forbid(nil)
	if _, err := s.asks(); err != nil {
		t.Errorf("WhenReady() = %v, want no error", err)
	}
	s.wantStarts(2)
}
